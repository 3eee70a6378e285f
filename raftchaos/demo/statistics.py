"""What the load saw, in numbers: pure functions over samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from raftchaos.demo.load import Sample


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the time line, in wall-clock seconds: from `start` (included) to `end` (excluded)."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length; never negative."""
        return max(0.0, self.end - self.start)


@dataclass(frozen=True, slots=True)
class Summary:
    """The requests that were due in one window. Latencies are seconds, None if there was no request."""

    requests: int
    rate: float
    p50: float | None
    p95: float | None
    errors: int

    @property
    def error_share(self) -> float | None:
        """Part of the requests that failed, 0 to 1; None if there was no request."""
        return self.errors / self.requests if self.requests else None

    def to_dict(self) -> dict[str, Any]:
        """As data: rate a second, latencies in milliseconds, share of errors."""
        return {
            "requests": self.requests,
            "ratePerSecond": round(self.rate, 2),
            "p50Ms": None if self.p50 is None else round(self.p50 * 1000, 2),
            "p95Ms": None if self.p95 is None else round(self.p95 * 1000, 2),
            "errorShare": None if self.error_share is None else round(self.error_share, 4),
        }


def quantile(values: Sequence[float], q: float) -> float | None:
    """The smallest value that at least the part `q` of all values does not exceed; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def summarize(samples: Iterable[Sample], window: Window) -> Summary:
    """The requests that were due in the window. Failed ones count for the latencies too: users waited for them."""
    inside = [sample for sample in samples if window.start <= sample.due < window.end]
    latencies = [sample.seconds for sample in inside]
    return Summary(
        requests=len(inside),
        rate=len(inside) / window.seconds if window.seconds else 0.0,
        p50=quantile(latencies, 0.50),
        p95=quantile(latencies, 0.95),
        errors=sum(sample.failed for sample in inside),
    )


@dataclass(frozen=True, slots=True)
class StepWindows:
    """The calm before a step, the step, and the calm after it."""

    before: Window
    during: Window
    after: Window


def step_windows(
    spans: Sequence[tuple[float, float]], calm: float, settle: float = 0.3, lead: float = 0.2
) -> list[StepWindows]:
    """The windows of steps that lasted over `spans` (start, end), in order.

    `calm` is how long before and after at most; a window never reaches into the neighbouring step. The first `settle`
    seconds after a step belong to nobody: requests that waited for the fault still come in. Nor do the last `lead`
    seconds before one: a fault is on a moment before the cluster knows it, and meets requests that were due before.
    """
    found = []
    for number, (start, end) in enumerate(spans):
        earliest = spans[number - 1][1] + settle if number else -math.inf
        latest = spans[number + 1][0] - lead if number + 1 < len(spans) else math.inf
        calm_until = start - lead
        before = Window(min(calm_until, max(start - calm, earliest)), calm_until)
        after = Window(end + settle, max(end + settle, min(end + settle + calm, latest)))
        found.append(StepWindows(before, Window(start, end), after))
    return found

"""Failures that spread: the order in which services went bad, confirmed by how well each follows the one before.

Each service has a measure of badness at equal steps (a share of errors, the logarithm of a latency). Its onset is the
first of two steps in a row more than six robust deviations above the median of its past. Each is joined to the one of
at most 24 steps before whose badness it follows best: the largest correlation of the standardised series at a lag that
the onsets allow, at least 0.6. Three services or more in a row are a cascade, reported as a path with its lags.
Correlation is no proof of a cause; the order of the onsets is part of the evidence.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from raftchaos.analytics.anomalies.signal import Signal, excess
from raftchaos.analytics.series import Floats
from raftchaos.model.findings.anomaly import AnomalyType

WINDOW: Final = 120  # steps that are remembered
LEAST: Final = 30  # steps of a service before it can have an onset
BEYOND: Final = 6.0  # robust deviations
APART: Final = 24  # steps between the onsets of neighbours on a path, at most
FOLLOWS: Final = 0.6  # the least correlation
REACHED: Final = 3  # services on a path
AS_WELL: Final = 0.1  # of two services that are followed about as well, the later one is the one before
RENEWED: Final = 6  # steps after which what is usual is computed again
SERVICES: Final = 500  # that are watched; more are not taken


@dataclass(slots=True)
class _Service:
    values: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    above: int = 0
    below: int = 0
    onset: int | None = None
    usual: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True, slots=True)
class _Link:
    first: str
    lag: int
    correlation: float


class CascadeWatch:
    """Watches the badness of many services (or nodes) together, `step` seconds at a time. Least data: 30 steps each."""

    def __init__(self, metric: str, step: float = 10.0) -> None:
        self.metric = metric
        self.step = step
        self._services: dict[str, _Service] = {}
        self._now = -1

    def update(self, time: float, badness: Mapping[str, float]) -> Signal | None:
        """Take the badness of all services in the step that begins at `time`; who is missing or NaN is as before."""
        self._now += 1
        begun = False
        for name in badness.keys() - self._services.keys():
            if len(self._services) < SERVICES:
                self._services[name] = _Service(deque([math.nan] * min(self._now, WINDOW), maxlen=WINDOW))
        for name, service in self._services.items():
            begun |= self._step(service, badness.get(name, math.nan))
        waiting = any(one.onset is not None and 2 < self._now - one.onset <= 12 for one in self._services.values())
        if not (begun or waiting):
            return None
        path, links = self._path()
        if len(path) < REACHED:
            return None
        return self._signal(time, path, links)

    def _step(self, service: _Service, value: float) -> bool:
        """Take one value, and say whether an onset has just been seen."""
        known = [one for one in service.values if not math.isnan(one)]
        if math.isnan(value) and known:
            value = known[-1]
        service.values.append(value)
        if math.isnan(value) or len(known) < LEAST:
            return False
        if service.onset is None and service.above == 0 and (len(known) == LEAST or self._now % RENEWED == 0):
            service.usual = float(np.median(known))
            deviation = 1.4826 * float(np.median(np.abs(np.array(known) - service.usual)))
            service.spread = max(deviation, 0.05 * abs(service.usual), 1e-3)
        if (value - service.usual) / service.spread > BEYOND:
            service.above, service.below = service.above + 1, 0
        else:
            service.above, service.below = 0, service.below + 1
        if service.onset is not None and (service.below >= APART or self._now - service.onset >= WINDOW):
            service.onset, service.above = None, 0
        if service.onset is None and service.above >= 2:
            service.onset = self._now - 1
            return True
        return False

    def _path(self) -> tuple[list[str], dict[str, _Link]]:
        """The longest path of services each of which follows the one before, and how it does."""
        bad = sorted((one.onset, name) for name, one in self._services.items() if one.onset is not None)
        links: dict[str, _Link] = {}
        depth: dict[str, int] = {}
        for onset, name in bad:
            found = [
                link
                for earlier, first in bad
                if 0 < onset - earlier <= APART and (link := self._link(first, name, onset - earlier)) is not None
            ]
            depth[name] = 1
            if found:
                best = max(link.correlation for link in found)
                near = [link for link in found if link.correlation >= best - AS_WELL]
                links[name] = min(near, key=lambda link: link.lag)
                depth[name] = depth[links[name].first] + 1
        if not depth:
            return [], {}
        path = [max(depth, key=lambda name: depth[name])]
        while path[0] in links:
            path.insert(0, links[path[0]].first)
        return path, links

    def _link(self, first: str, second: str, lag: int) -> _Link | None:
        """How well `second` follows `first` at a lag within two steps of that of the onsets; None if it does not."""
        one, two = self._standard(first), self._standard(second)
        best = _Link(first, lag, -1.0)
        for delay in range(max(1, lag - 2), lag + 3):
            early, late = one[-60 - delay : -delay], two[-60:]
            both = ~(np.isnan(early) | np.isnan(late)) if len(early) == len(late) else np.zeros(0, bool)
            if both.sum() < LEAST:
                continue
            early, late = early[both], late[both]
            scale = float(early.std() * late.std())
            shared = float(((early - early.mean()) * (late - late.mean())).mean()) / scale if scale > 0 else 0.0
            if shared > best.correlation:
                best = _Link(first, delay, shared)
        return best if best.correlation >= FOLLOWS else None

    def _standard(self, name: str) -> Floats:
        """Deviations from what is usual, bent by a logarithm so that the size of a failure does not decide."""
        service = self._services[name]
        deviations = (np.array(service.values) - service.usual) / service.spread
        bent: Floats = np.sign(deviations) * np.log1p(np.abs(deviations))
        return bent

    def _signal(self, time: float, path: list[str], links: dict[str, _Link]) -> Signal:
        parts = [path[0], *(f"{links[name].lag * self.step:g} s → {name}" for name in path[1:])]
        onsets = [onset for name in path if (onset := self._services[name].onset) is not None]
        evidence: dict[str, float | str] = {
            "path": " → ".join(path),
            "lags": " → ".join(parts),
            "weakestCorrelation": round(min(links[name].correlation for name in path[1:]), 3),
            "services": len(path),
        }
        since = time - (self._now - min(onsets)) * self.step
        return Signal(
            AnomalyType.CASCADING_FAILURE,
            self.metric,
            time + self.step,
            excess(len(path)),
            evidence,
            since=since,
            affected=tuple(path),
        )

"""What happened in one span of time, folded: counts by dimension, and latencies by endpoint.

The data plane makes one a second, main hands them on as the bytes that they came as, and analytics adds them up. A peer
answers another's question about its recording with cells, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import msgpack

from raftchaos import limits
from raftchaos.core.histogram import COUNT_MOST, LogHistogram
from raftchaos.errors import UsageError

DIMENSIONS: Final = {
    "type": limits.EVENT_TYPES,
    "fault": limits.EVENT_FAULTS,
    "endpoint": limits.EVENT_ENDPOINTS,
    "protocol": limits.EVENT_PROTOCOLS,
    "node": limits.EVENT_NODES,
    "status": limits.EVENT_STATUSES,
}
"""What events are counted by, and how many names of each are kept apart; the rest are counted as OTHER."""
OTHER: Final = "other"
ALL: Final = ""
"""In place of an endpoint: the latencies of all."""
REQUEST: Final = "request"
RATE_LIMITED: Final = "rate_limited"
SHAPED: Final = "shaped"
_LATEST: Final = 2**35  # seconds since the epoch: the year 3058

Counts = dict[str, tuple[int, int]]
"""Events, and how many of them were errors, by name."""


@dataclass(slots=True)
class Cell:
    """Events of the span of `step` seconds that begins at `at`, seconds since the epoch.

    Every event has one type, so the events of all types are all events. `samples` are single events, as maps, and
    `unsampled` counts those of which only the counts are left.
    """

    at: int
    step: int = 1
    counts: dict[str, Counts] = field(default_factory=dict)
    latencies: dict[str, LogHistogram] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    unsampled: int = 0

    @property
    def events(self) -> int:
        """All events."""
        return sum(events for events, _ in self.counts.get("type", {}).values())

    def encode(self) -> bytes:
        """As bytes, for another process."""
        packed: bytes = msgpack.packb(
            {
                "at": self.at,
                "step": self.step,
                "counts": self.counts,
                "latencies": {name: histogram.packed() for name, histogram in self.latencies.items()},
                "samples": self.samples,
                "unsampled": self.unsampled,
            }
        )
        return packed

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """A cell that comes from outside, checked and bounded. Raises UsageError."""
        if len(data) > limits.CELL:
            raise UsageError(f"found a cell of {len(data)} bytes, expected at most {limits.CELL}")
        try:
            fields = msgpack.unpackb(data)
        except (ValueError, RecursionError, msgpack.UnpackException) as error:
            raise UsageError(f"found no cell: {error}") from None
        if not isinstance(fields, dict):
            raise UsageError(f"found {type(fields).__name__} in place of a cell, expected a map")
        samples = fields.get("samples", [])
        if not isinstance(samples, list) or len(samples) > limits.CELL_SAMPLES:
            raise UsageError(f"found no samples in a cell, expected a list of at most {limits.CELL_SAMPLES}")
        return cls(
            at=_whole(fields, "at", 0, _LATEST),
            step=_whole(fields, "step", 1, limits.CELL_STEP),
            counts={
                dimension: _counts(names, dimension)
                for dimension, names in _names(fields, "counts", len(DIMENSIONS)).items()
            },
            latencies={
                name: LogHistogram.unpacked(packed)
                for name, packed in _names(fields, "latencies", limits.EVENT_ENDPOINTS + 2).items()
            },
            samples=[sample for sample in samples if isinstance(sample, dict)],
            unsampled=_whole(fields, "unsampled", 0, COUNT_MOST),
        )


def _whole(fields: Mapping[Any, Any], name: str, least: int, most: int) -> int:
    value = fields.get(name)
    if type(value) is not int or not least <= value <= most:
        raise UsageError(f"found {value!r:.40} as {name} of a cell, expected a whole number from {least} to {most}")
    return value


def _names(fields: Mapping[Any, Any], what: str, most: int) -> dict[str, Any]:
    names = fields.get(what)
    if not isinstance(names, dict) or len(names) > most:
        raise UsageError(f"found no {what} in a cell, expected a map of at most {most} names")
    for name in names:
        if not isinstance(name, str) or len(name) > limits.EVENT_NAME:
            raise UsageError(f"found {name!r:.40} in {what}, expected at most {limits.EVENT_NAME} characters")
    return names


def _counts(names: Any, dimension: str) -> Counts:
    if dimension not in DIMENSIONS:
        raise UsageError(f"found counts by {dimension!r:.40}, expected one of {', '.join(DIMENSIONS)}")
    counts: Counts = {}
    for name, pair in _names({dimension: names}, dimension, DIMENSIONS[dimension] + 1).items():
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(type(count) is int for count in pair):
            raise UsageError(f"found {pair!r:.40} for {name!r}, expected events and errors")
        events, errors = pair
        if not 0 <= errors <= events <= COUNT_MOST:
            raise UsageError(
                f"found {errors} errors of {events} events, expected at most {COUNT_MOST} and no more errors"
            )
        counts[name] = (events, errors)
    return counts

"""The names of metrics, and what each is in the buckets of a ring.

| metric | value of a bucket |
|---|---|
| `total_events`, `events.<type>` | how many events, of all types or of one |
| `requests` | events of type `request`; with a label, events with that label |
| `errors` | events that failed |
| `error_ratio` | failed requests by requests; with a label, errors by events |
| `latency_p50`, `latency_p95`, `latency_p99` | quantile of the latencies in ms, within 1 % |
| `cpu_percent`, `memory_percent`, `disk_percent`, `open_files` | mean of the readings |

A label narrows it: `errors{node="n1"}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from raftchaos.analytics.recording.buckets import GAUGES, Ring
from raftchaos.analytics.recording.columns import ERRORS, EVENTS, Columns
from raftchaos.analytics.recording.histogram import Ints, quantile
from raftchaos.analytics.series import Floats
from raftchaos.core.cells import ALL, DIMENSIONS, REQUEST
from raftchaos.errors import NotFound

_NAME = re.compile(r'([a-z0-9_]+|events\.[^{}]+)(?:\{(\w+)="([^"]*)"\})?', re.ASCII)
_QUANTILES: Final = {"latency_p50": 0.50, "latency_p95": 0.95, "latency_p99": 0.99}
_COUNTS: Final = ("total_events", "requests", "errors", "error_ratio")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: how to get its values from the places of a ring. `empty` is that of a bucket without events."""

    values: Callable[[Ring, Ints], Floats]
    """Of rows of places, one value a row; a place of -1 is an empty bucket."""
    empty: float


def find(name: str, columns: Columns) -> Metric:
    """The metric of this name. Raises NotFound, with the known ones."""
    parsed = _NAME.fullmatch(name)
    metric = None if parsed is None else _find(parsed[1], parsed[2], parsed[3], columns)
    if metric is None:
        names = known(columns)
        raise NotFound(
            f"found no metric {name!r:.100}, expected one of {', '.join(names[:40])}",
            hint='a label narrows a metric, as in errors{node="n1"}; labels are ' + ", ".join(DIMENSIONS),
            details={"known": names},
        )
    return metric


def known(columns: Columns) -> list[str]:
    """The metrics that there are: those without a label, then those of every name that was recorded."""
    named = [(dimension, name) for dimension, name, _ in columns.named() if dimension != "type"]
    types = [f"events.{name}" for name in columns.dimensions["type"].names.names]
    plain = [*_COUNTS, *_QUANTILES, *GAUGES, *types]
    return plain + [f'{metric}{{{dimension}="{name}"}}' for dimension, name in named for metric in _COUNTS]


def _find(name: str, dimension: str | None, value: str, columns: Columns) -> Metric | None:
    if name in GAUGES:
        return None if dimension else _gauge(GAUGES.index(name))
    if name in _QUANTILES:
        owner = 0 if dimension is None else _owner(dimension, value, columns)
        return None if owner is None else _latency(owner, _QUANTILES[name])
    if name.startswith("events.") and dimension is None:
        pair = _pair("type", name.removeprefix("events."), columns)
        return None if pair is None else _count(pair)
    if name not in _COUNTS:
        return None
    if dimension is not None:
        pair = _pair(dimension, value, columns)
    elif name in ("requests", "error_ratio"):
        pair = _pair("type", REQUEST, columns)
    else:
        pair = EVENTS
    if pair is None:
        return None
    if name == "error_ratio":
        return _ratio(pair)
    return _count(pair + ERRORS if name == "errors" else pair)


def _pair(dimension: str, value: str, columns: Columns) -> int | None:
    """The first of the two columns of a name."""
    table = columns.dimensions.get(dimension)
    number = None if table is None else table.names.find(value)
    return None if table is None or number is None or number < 0 else table.column(number)


def _owner(dimension: str, value: str, columns: Columns) -> int | None:
    """Whose histogram it is."""
    names = columns.dimensions["endpoint"].names
    number = names.find(value) if dimension == "endpoint" and value != ALL else None
    return None if not number else names.serials[number]


def _sums(ring: Ring, column: int, places: Ints) -> Floats:
    there = places >= 0
    sums: Floats = np.where(there, ring.counts[column, np.where(there, places, 0)], 0).sum(axis=1, dtype=np.float64)
    return sums


def _divided(parts: Floats, wholes: Floats) -> Floats:
    """NaN where there is no whole."""
    quotients: Floats = np.divide(parts, wholes, out=np.full(len(wholes), np.nan), where=wholes > 0)
    return quotients


def _count(column: int) -> Metric:
    return Metric(lambda ring, places: _sums(ring, column, places), 0.0)


def _ratio(pair: int) -> Metric:
    def values(ring: Ring, places: Ints) -> Floats:
        events = _sums(ring, pair, places)
        return _divided(_sums(ring, pair + ERRORS, places), events)

    return Metric(values, np.nan)


def _gauge(row: int) -> Metric:
    def values(ring: Ring, places: Ints) -> Floats:
        at, there = np.where(places >= 0, places, 0), places >= 0
        counts = np.where(there, ring.gauge_counts[row, at], 0).sum(axis=1)
        sums = np.where(there, ring.gauge_sums[row, at], 0.0).sum(axis=1)
        return _divided(sums, counts)

    return Metric(values, np.nan)


def _latency(owner: int, q: float) -> Metric:
    def values(ring: Ring, places: Ints) -> Floats:
        found = np.full(len(places), np.nan)
        for row in np.flatnonzero((places >= 0).any(axis=1)):
            numbers = ring.numbers[places[row][places[row] >= 0]].tolist()
            histograms = [counts for number in numbers if (counts := ring.latencies.read(number, owner)) is not None]
            if histograms:
                found[row] = quantile(np.sum(histograms, axis=0), q)
        return found

    return Metric(values, np.nan)

"""Batches and cells as what they add: to which columns of which second, and to which buckets of which histograms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from raftchaos.analytics.recording.busiest import Busiest
from raftchaos.analytics.recording.columns import ERRORS, EVENTS, Columns
from raftchaos.analytics.recording.events import Batch
from raftchaos.analytics.recording.histogram import Ints, buckets_of
from raftchaos.analytics.recording.latencies import ROWS
from raftchaos.analytics.recording.names import NOTHING
from raftchaos.core.cells import ALL, Cell
from raftchaos.core.histogram import BUCKETS

_NONE: Ints = np.zeros(0, dtype=np.int64)
_SPARSE = 2_000  # values below which sorting them is quicker than counting into all buckets


class Addition(NamedTuple):
    """What events of the span of `step` seconds from `at` add."""

    at: int
    step: int
    events: int
    columns: Ints
    counts: Ints
    cells: Ints
    """Row of a histogram * BUCKETS + bucket, each once; `numbers` is how many."""
    numbers: Ints


def addition_of_cell(cell: Cell, columns: Columns, busiest: Busiest) -> Addition:
    """What a cell adds."""
    names = columns.dimensions["endpoint"].names
    added, counts = columns.of_cell(cell)
    endpoints = np.zeros(len(busiest.weights), dtype=np.int64)
    for name, (events, _) in cell.counts.get("endpoint", {}).items():
        endpoints[max(names.number(name), 0)] += events
    busiest.add(endpoints, cell.at)
    cells: dict[int, int] = {}
    for name, histogram in cell.latencies.items():
        row = 0 if name == ALL else int(busiest.rows[max(names.number(name), 0)])
        if row or name == ALL:
            for bucket, count in histogram.counts.items():
                place = row * BUCKETS + bucket
                cells[place] = cells.get(place, 0) + count
    places, numbers = np.fromiter(cells, np.int64, len(cells)), np.fromiter(cells.values(), np.int64, len(cells))
    return Addition(cell.at, cell.step, cell.events, added, counts, places, numbers)


def additions(batch: Batch, columns: Columns, busiest: Busiest) -> Iterator[Addition]:
    """What a batch adds, second by second; each is to be added before the next is asked for."""
    seconds = np.floor(batch.at).astype(np.int64)
    codes, endpoints = _codes(batch, columns)
    failed, latency = batch.error, batch.latency_ms
    measured = ~np.isnan(latency)
    buckets = np.zeros(len(latency), dtype=np.int64)
    buckets[measured] = buckets_of(latency[measured])
    if (np.diff(seconds) < 0).any():
        order = np.argsort(seconds, kind="stable")
        seconds, codes, endpoints = seconds[order], codes[:, order], endpoints[order]
        failed, measured, buckets = failed[order], measured[order], buckets[order]
    edges = np.flatnonzero(np.diff(seconds)) + 1
    for begin, end in zip([0, *edges.tolist()], [*edges.tolist(), len(seconds)], strict=True):
        if begin == end:
            return
        mine, bad, known = codes[:, begin:end], failed[begin:end], measured[begin:end]
        counted = np.bincount(mine.ravel(), minlength=columns.count + 2)
        counted += np.bincount(mine[:, bad].ravel() + ERRORS, minlength=columns.count + 2)
        counted = counted[: columns.count]
        added = np.flatnonzero(counted)
        busiest.add(np.bincount(endpoints[begin:end] + 1, minlength=len(busiest.weights) + 1)[1:], int(seconds[begin]))
        cells, numbers = _cells(endpoints[begin:end][known], buckets[begin:end][known], busiest)
        yield Addition(int(seconds[begin]), 1, end - begin, added, counted[added], cells, numbers)


def _codes(batch: Batch, columns: Columns) -> tuple[Ints, Ints]:
    """The columns of each event, one row a dimension (those past the last for what it has none of); its endpoint."""
    count = len(batch.at)
    codes = [np.full(count, EVENTS, dtype=np.int64)]
    endpoints = np.full(count, NOTHING, dtype=np.int64)
    for dimension, values in batch.names.items():
        if values == "":
            continue
        table = columns.dimensions[dimension]
        if isinstance(values, str):
            numbers = np.full(count, table.names.number(values), dtype=np.int64)
        else:
            numbers = table.names.numbers(values, count)
        codes.append(np.where(numbers == NOTHING, columns.count, table.first + 2 * numbers))
        if dimension == "endpoint":
            endpoints = numbers
    return np.stack(codes), endpoints


def _cells(endpoints: Ints, buckets: Ints, busiest: Busiest) -> tuple[Ints, Ints]:
    """Buckets of the histogram of all, and of those of the busiest endpoints."""
    if not len(buckets):
        return _NONE, _NONE
    rows = busiest.rows[np.maximum(endpoints, 0)]
    own = rows > 0
    cells = np.concatenate([buckets, rows[own] * BUCKETS + buckets[own]])
    if len(cells) < _SPARSE:
        return np.unique(cells, return_counts=True)
    counted = np.bincount(cells, minlength=ROWS * BUCKETS)
    used = np.flatnonzero(counted)
    return used, counted[used]

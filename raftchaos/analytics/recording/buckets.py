"""Rings of time buckets: bounded memory whatever comes, in whatever order, by whatever clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from raftchaos import limits
from raftchaos.analytics.recording.histogram import Ints
from raftchaos.analytics.recording.latencies import Latencies
from raftchaos.analytics.recording.packing import packed, unpack_into
from raftchaos.analytics.series import Floats
from raftchaos.core.cells import Cell
from raftchaos.core.histogram import COUNT_MOST, LogHistogram

GAUGES: Final = ("cpu_percent", "memory_percent", "disk_percent", "open_files")
"""Readings: a bucket holds their mean."""


class Resolution(NamedTuple):
    """Buckets of `step` seconds, the last `size` of them, and their part of the memory for histograms."""

    step: int
    size: int
    share: float


RESOLUTIONS: Final = (
    Resolution(1, 3600, 0.16),  # an hour
    Resolution(60, 2880, 0.34),  # two days
    Resolution(300, 2016, 0.32),  # seven days
    Resolution(3600, 720, 0.12),  # thirty days
    Resolution(86_400, 366, 0.06),  # a year
)
_WIDE: Final = 3600  # from this step on a bucket may count more than 2^32 events
_EMPTY: Final = -1


class Ring:
    """The newest buckets of one resolution. A bucket's number is its time divided by the step.

    Counts are kept by column, so that a series is one row of memory and a column that nothing uses costs nothing.
    """

    def __init__(self, resolution: Resolution, columns: int) -> None:
        self.step = resolution.step
        self.size = resolution.size
        self.numbers = np.full(self.size, _EMPTY, dtype=np.int64)
        self.counts = np.zeros((columns, self.size), dtype=np.uint64 if self.step >= _WIDE else np.uint32)
        self.gauge_sums = np.zeros((len(GAUGES), self.size))
        self.gauge_counts = np.zeros((len(GAUGES), self.size), dtype=np.uint32)
        self.latencies = Latencies()
        self.share = resolution.share
        self._most = min(int(np.iinfo(self.counts.dtype).max), COUNT_MOST)  # beyond it a count stays what it is

    def keeps(self, numbers: Ints, present: float) -> npt.NDArray[np.bool_]:
        """Whether buckets are kept, given the time now: they are neither too old nor of a time that has not come."""
        return (numbers > present // self.step - self.size) & (numbers <= (present + limits.EVENT_AHEAD) // self.step)

    def place(self, at: float, present: float) -> int | None:
        """Where the bucket of a time lies, emptied if it was another's; None if that bucket is no longer kept.

        What is further ahead than `limits.EVENT_AHEAD` was written by a clock that was wrong, and gives way.
        """
        number = int(at // self.step)
        place = number % self.size
        held = int(self.numbers[place])
        oldest, newest = present // self.step - self.size + 1, (present + limits.EVENT_AHEAD) // self.step
        if not oldest <= number <= newest or number < held <= newest:
            return None
        if held != number:
            if held != _EMPTY:
                self.counts[np.flatnonzero(self.counts[:, place]), place] = 0  # others take no memory yet
                self.gauge_sums[:, place] = 0
                self.gauge_counts[:, place] = 0
                self.latencies.drop(held)
            self.numbers[place] = number
        return place

    def add(self, place: int, columns: Ints, counts: Ints, cells: Ints, numbers: Ints) -> None:
        """Add to a bucket's columns, and to its histograms; see `Latencies.add`."""
        sums = self.counts[columns, place].astype(np.float64) + counts
        self.counts[columns, place] = np.minimum(sums, self._most)
        if len(cells):
            self.latencies.add(int(self.numbers[place]), cells, numbers)

    def add_gauges(self, place: int, values: Floats) -> None:
        """Add a reading; NaN where there is none."""
        known = ~np.isnan(values)
        self.gauge_sums[known, place] += values[known]
        self.gauge_counts[known, place] += 1

    @property
    def column_bytes(self) -> int:
        """What a column that is used takes."""
        return int(self.counts[0].nbytes)

    def move(self, column: int, into: int) -> None:
        """What a column has counted belongs to another from now on."""
        self.counts[into] += self.counts[column]
        self.counts[column] = 0

    def kept(self, numbers: Ints, present: float) -> Ints:
        """The places of buckets; -1 for those that are empty or not kept."""
        places = numbers % self.size
        return np.where((self.numbers[places] == numbers) & self.keeps(numbers, present), places, _EMPTY)

    def cell(self, place: int, names: Sequence[tuple[str, str, int]], owners: Mapping[int, str]) -> Cell:
        """What a bucket holds, given the columns by dimension and name, and the names of the histograms' owners."""
        number = int(self.numbers[place])
        cell = Cell(number * self.step, self.step)
        counts = self.counts[:, place].tolist()
        for dimension, name, column in names:
            if counts[column]:
                cell.counts.setdefault(dimension, {})[name] = (counts[column], counts[column + 1])
        for part in self.latencies.parts(number):
            if part.owner in owners:
                pairs = zip(part.buckets.tolist(), part.counts.tolist(), strict=True)
                cell.latencies[owners[part.owner]] = LogHistogram(dict(pairs))
        return cell

    def snapshot(self) -> dict[str, Any]:
        """As plain data; what is empty takes no room."""
        self.latencies.close()
        used = np.flatnonzero(self.counts.any(axis=1))
        return {
            "step": self.step,
            "numbers": packed(self.numbers),
            "used": used.tolist(),
            "counts": packed(self.counts[used]),
            "gaugeSums": packed(self.gauge_sums),
            "gaugeCounts": packed(self.gauge_counts),
            "latencies": dict(self.latencies.packed),
        }

    def restore(self, data: Any) -> None:
        """Take what `snapshot` said. Raises ValueError, KeyError, TypeError or DataCorrupt."""
        if data["step"] != self.step:
            raise ValueError(f"buckets of {data['step']!r} s in place of {self.step} s")
        used = np.array(data["used"], dtype=np.int64)
        if used.ndim != 1 or not ((used >= 0) & (used < len(self.counts))).all():
            raise ValueError("columns that do not exist")
        unpack_into(self.numbers, data["numbers"])
        counts = np.zeros((len(used), self.size), dtype=self.counts.dtype)
        unpack_into(counts, data["counts"])
        self.counts[used] = counts
        unpack_into(self.gauge_sums, data["gaugeSums"])
        unpack_into(self.gauge_counts, data["gaugeCounts"])
        self.latencies.restore({int(number): bytes(blob) for number, blob in data["latencies"].items()})

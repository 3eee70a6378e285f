"""From rows with any times to a Series of equal steps, in bounded memory, saying what was done."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from raftchaos.analytics.series import Floats, Series
from raftchaos.errors import UsageError

Places = NDArray[np.int64]

MOST_ROWS = 1_000_000  # that are kept at once: 16 MB
_MOST_STEPS = 4_000_000  # of the series, gaps included
_EVEN = 0.25  # of a step: closer to a whole number of steps, a distance counts as that
_MOSTLY = 0.9  # share of even distances above which steps are counted one by one, as months and years need it


class Collector:
    """Takes readings in any number and keeps at most a million: the latest, or means of neighbours over all of them."""

    def __init__(self, *, latest: bool) -> None:
        self._latest = latest
        self._times, self._values = array("d"), array("d")
        self._read = 0
        self._together = 1
        self._pending: list[tuple[float, float]] = []

    def add(self, time: float, value: float) -> None:
        """One reading; NaN is none."""
        if value != value:
            return
        self._read += 1
        if self._together > 1:
            self._pending.append((time, value))
            if len(self._pending) < self._together:
                return
            time, value = (float(part) for part in np.mean(self._pending, axis=0))
            self._pending.clear()
        self._times.append(time)
        self._values.append(value)
        if len(self._times) >= MOST_ROWS:
            self._halve()

    def _halve(self) -> None:
        if self._latest:
            del self._times[: MOST_ROWS // 2], self._values[: MOST_ROWS // 2]
            return
        self._together *= 2
        for kept in (self._times, self._values):
            kept[:] = array("d", np.frombuffer(kept, dtype=np.float64).reshape(-1, 2).mean(axis=1).tobytes())

    def series(self, name: str) -> tuple[Series, list[str]]:
        """What was taken, as a Series, and sentences about what was done. Raises UsageError for less than two times."""
        notes = []
        if self._together > 1:
            notes.append(f"{self._read:,} readings: each {self._together} neighbours were put together")
        elif len(self._times) < self._read:
            notes.append(f"the latest {len(self._times):,} of {self._read:,} readings are used")
        series, more = to_series(name, self._times, self._values)
        return series, notes + more


def to_series(name: str, times: Iterable[float], values: Iterable[float]) -> tuple[Series, list[str]]:
    """Readings on equal steps, the step being the median distance. Readings of one step become their mean, gaps NaN.

    Where nearly all distances are whole numbers of steps, give or take a quarter, steps are counted from reading to
    reading, so that months of 28 to 31 days have neither gaps nor doubles.
    """
    at, found = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    order = np.argsort(at, kind="stable")
    at, found = at[order], found[order]
    distance = np.diff(at)
    if not (distance > 0).any():
        raise UsageError(f"{name}: found readings of {len(np.unique(at))} different times, expected at least two")
    step = float(np.median(distance[distance > 0]))
    places = _places(at, distance, step)
    if places[-1] >= _MOST_STEPS:
        raise UsageError(
            f"{name}: found {places[-1] + 1:,} steps of {step:g} s from the first to the last of {len(at):,} readings",
            hint="leave out what lies far from the rest",
        )
    step = float(at[-1] - at[0]) / float(places[-1])
    counts = np.bincount(places)
    sums = np.bincount(places, weights=found)
    grid = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return Series.regular(float(at[0]), step, grid), _notes(step, counts)


def _places(at: Floats, distance: Floats, step: float) -> Places:
    """The number of the step of each reading."""
    whole = np.round(distance / step)
    even = np.abs(distance / step - whole) <= _EVEN
    if even.mean() >= _MOSTLY:
        whole = np.r_[0.0, np.cumsum(whole)]
    else:
        whole = np.round((at - at[0]) / step)
    return np.asarray(whole, dtype=np.int64)


def _notes(step: float, counts: Places) -> list[str]:
    notes = [f"{len(counts):,} steps of {step:.6g} s"]
    shared, empty = int((counts > 1).sum()), int((counts == 0).sum())
    if shared:
        notes.append(f"{shared:,} steps with more than one reading: their mean is used")
    if empty:
        notes.append(f"{empty:,} steps without a reading")
    return notes

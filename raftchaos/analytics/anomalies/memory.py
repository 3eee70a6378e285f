"""What detectors remember: the last numbers in order of size, and the readings of the same time of day or week."""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort_left

import numpy as np

DAY = 86_400
WEEK = 7 * DAY


class Ordered:
    """The last `most` numbers in ascending order, 16 bytes each. The oldest leaves when one more comes."""

    __slots__ = ("_most", "_oldest", "_recent", "values")

    def __init__(self, most: int) -> None:
        self.values = array("d")
        self._recent = array("d")  # a ring in order of arrival
        self._oldest = 0
        self._most = most

    def __len__(self) -> int:
        return len(self.values)

    def add(self, value: float) -> None:
        """Remember a finite number."""
        if len(self._recent) < self._most:
            self._recent.append(value)
        else:
            del self.values[bisect_left(self.values, self._recent[self._oldest])]
            self._recent[self._oldest] = value
            self._oldest = (self._oldest + 1) % self._most
        insort_left(self.values, value)


class SeasonalMedian:
    """The median of the last `kept` readings at each of `bins` times of a period, with those of the bins beside it.

    A median is not moved by what is unusual as long as that is less than half (P. Huber, Robust Statistics, 1981).
    """

    __slots__ = ("_counts", "_least", "_period", "_values")

    def __init__(self, period: int, bins: int, kept: int, least: int = 12) -> None:
        self._period = period
        self._least = least
        self._values = np.full((bins, kept), np.nan)
        self._counts = [0] * bins

    def expected(self, time: float) -> float | None:
        """The usual reading at a time (seconds since the epoch), or None before `least` readings can tell it."""
        here, (bins, kept) = self._bin(time), self._values.shape
        around = ((here - 1) % bins, here, (here + 1) % bins)
        count = sum(min(self._counts[place], kept) for place in around)
        if count < self._least:
            return None
        near = self._values[around, :].ravel()
        near.sort()  # what is not there yet is NaN and goes to the end
        return float(near[(count - 1) // 2]) / 2 + float(near[count // 2]) / 2

    def learn(self, time: float, value: float) -> None:
        """Remember a finite reading, in place of the oldest of its bin."""
        here = self._bin(time)
        self._values[here, self._counts[here] % self._values.shape[1]] = value
        self._counts[here] += 1

    def _bin(self, time: float) -> int:
        return int(time % self._period * len(self._counts) / self._period) % len(self._counts)

"""A histogram of latencies with a relative error of 1 %, counted without numpy: for the data plane and for main.

The buckets are those of DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative
error guarantees", VLDB 2019): bucket b > 0 holds the values in (m γ^(b-1), m γ^b] with m = 0.001 and
γ = (1 + α) / (1 - α) = 1.01 / 0.99; each value in it differs from 2 m γ^b / (γ + 1) by at most α = 1 % of itself. They
never move, so two histograms are merged exactly, by adding their counts. The unit is the caller's; ours is the
millisecond.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Self

from raftchaos.errors import UsageError

ACCURACY: Final = 0.01
"""α: the relative error of a quantile, for values above LOWEST and up to HIGHEST."""
LOWEST: Final = 1e-3
"""This and less is counted in bucket 0 and reported as 0."""
HIGHEST: Final = 1e9
"""More than this is counted as this."""
GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)
SCALE: Final = 1 / math.log(GAMMA)
BUCKETS: Final = math.ceil(math.log(HIGHEST / LOWEST) * SCALE) + 1
"""Buckets are numbered from 0 to this less 1."""
COUNT_MOST: Final = 2**53
"""No bucket of a histogram that comes from outside has more: what JSON and float64 hold exactly."""
_SHIFT: Final = -math.log(LOWEST) * SCALE


def bucket_of(value: float) -> int:
    """The number of the bucket that a value, which is no NaN, belongs to."""
    if value <= LOWEST:
        return 0
    if value >= HIGHEST:
        return BUCKETS - 1
    return math.ceil(math.log(value) * SCALE + _SHIFT)


def value_of(bucket: int) -> float:
    """What a value of this bucket is reported as."""
    return 0.0 if bucket == 0 else min(2 * LOWEST * GAMMA**bucket / (GAMMA + 1), HIGHEST)


def rank_of(q: float, count: int) -> int:
    """Which of `count` sorted values, from 1, is the q-quantile: the smallest with at least q of them at or below it
    (type 1 of Hyndman and Fan, "Sample quantiles in statistical packages", 1996).
    """
    return max(1, math.ceil(q * count - 1e-9))


class LogHistogram:
    """Counts by bucket."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, value: float) -> None:
        """Count one value, which is no NaN."""
        bucket = bucket_of(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def merge(self, other: LogHistogram) -> None:
        """Count all that the other has counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.counts.values())

    def quantile(self, q: float) -> float:
        """The q-quantile, 0 to 1, within 1 % of the true one; NaN if nothing was counted."""
        left = rank_of(q, self.count)
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return value_of(bucket)
        return math.nan

    def packed(self) -> list[int]:
        """The compact form: for each bucket in order, how far it is from the one before, and its count."""
        numbers: list[int] = []
        before = 0
        for bucket in sorted(self.counts):
            numbers += (bucket - before, self.counts[bucket])
            before = bucket
        return numbers

    @classmethod
    def unpacked(cls, data: Any) -> Self:
        """The histogram of a compact form that comes from outside. Raises UsageError."""
        if not isinstance(data, list) or len(data) % 2 or len(data) > 2 * BUCKETS:
            raise UsageError(f"found no histogram, expected a list of at most {2 * BUCKETS} numbers, in pairs")
        if not all(type(number) is int and 0 <= number <= COUNT_MOST for number in data):
            raise UsageError(f"found a histogram with other than whole numbers from 0 to {COUNT_MOST}")
        histogram, bucket = cls(), 0
        for place in range(0, len(data), 2):
            bucket += data[place]
            if bucket >= BUCKETS or bucket in histogram.counts:
                raise UsageError(f"found bucket {bucket} twice or too high, expected rising numbers below {BUCKETS}")
            histogram.counts[bucket] = data[place + 1]
        return histogram

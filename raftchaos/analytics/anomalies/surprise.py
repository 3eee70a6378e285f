"""How surprising a number is after those before it: `-log10 P(X >= x | past)`, by rank and by a fitted tail.

A surprise of 3 means that one number in a thousand was as large. Surprises of different things add up, as in Fisher's
method of combining p-values (R. A. Fisher, Statistical Methods for Research Workers, 1925), so that what is made of
them needs one line for all metrics, whatever their units.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np

from raftchaos.analytics.anomalies.memory import Ordered
from raftchaos.analytics.series import Floats

MEMORY = 20_000
CAP = 10.0  # what a fitted tail says beyond that is no measurement any more
LEAST = 100  # numbers that must have been seen before anything surprises
TAIL_SHARE = 0.05  # the largest numbers, to which the tail is fitted
TAIL_LEAST = 10
SHAPES = (0.0, 0.5)  # of the generalised Pareto: from the exponential to one whose variance just ends


class TailSurprise:
    """Surprises of a stream of finite numbers, of which the last `memory` are remembered.

    Within the bulk the surprise is that of the rank, `-log10 (r + 1) / (m + 1)` with r of m remembered numbers at least
    as large; above the 95 % quantile u it is that of a generalised Pareto distribution, whose shape and scale come from
    the probability-weighted moments of the excesses (J. Hosking and J. Wallis, Technometrics 29, 1987). Nothing
    surprises before 100 numbers were seen, and nothing by more than 10. The shape is drawn towards that of the
    exponential as if `prior` more excesses had spoken for it.
    """

    __slots__ = ("_past", "_prior")

    def __init__(self, memory: int = MEMORY, prior: int = 0) -> None:
        self._past = Ordered(memory)
        self._prior = prior

    def __call__(self, value: float) -> float:
        """The surprise of a number, from 0 to 10, which is then remembered."""
        surprise = self.of(value)
        self.learn(value)
        return surprise

    def learn(self, value: float) -> None:
        """Remember a number."""
        self._past.add(value)

    def of(self, value: float) -> float:
        """The surprise of a number, from 0 to 10."""
        past = self._past.values
        count = len(past)
        if count < LEAST:
            return 0.0
        start = count - max(math.ceil(count * TAIL_SHARE), TAIL_LEAST)
        threshold = past[start]
        if value <= threshold:
            return min(CAP, math.log10((count + 1) / (count - bisect_left(past, value) + 1)))
        in_tail = math.log10((count + 1) / (count - start + 1))
        excesses = np.array(past[start:]) - threshold
        return min(
            CAP, in_tail + pareto_surprise(excesses, value - threshold, 1e-12 + 1e-9 * abs(threshold), self._prior)
        )


def pareto_surprise(excesses: Floats, excess: float, least: float, prior: int = 0) -> float:
    """`-log10 P(X >= excess)` under the generalised Pareto distribution fitted to `excesses`, which ascend from 0.

    With a the mean and b the mean weighted by the share of larger ones, shape = 2 - a / (a - 2 b) and scale =
    a (1 - shape). Where all excesses are equal to within `least`, anything larger is as surprising as can be.
    """
    count = len(excesses)
    mean = float(excesses.mean())
    if mean <= least:
        return CAP if excess > excesses[-1] + least else 0.0
    weighted = float(excesses @ np.arange(count - 1, -1, -1)) / (count * (count - 1))
    spread = mean - 2 * weighted
    shape = 2 - mean / spread if spread > 1e-12 * mean else SHAPES[0]
    shape = min(max(shape, SHAPES[0]), SHAPES[1]) * count / (count + prior)
    ratio = excess / (mean * (1 - shape))
    return math.log10(1 + shape * ratio) / shape if shape > 1e-6 else ratio * math.log10(math.e)

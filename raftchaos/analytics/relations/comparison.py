"""Two finished tasks beside each other: is the second one worse?

A measure is worse when its whole 95 % interval lies beyond the tolerance on the bad side, the same when it lies within,
and unclear when the data cannot tell (an equivalence test: Schuirmann 1987, *J. Pharmacokinetics* 15).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from raftchaos.analytics.relations.bootstrap import DRAWS, interval
from raftchaos.analytics.relations.measured import Requests, error_share_change, quantile_change
from raftchaos.errors import UsageError
from raftchaos.model.findings.impact import Comparison, Difference, Estimate

LATENCY_TOLERANCE: Final = 0.05
"""Of the first task's latency or time to recover: a smaller change does not matter."""
ERROR_TOLERANCE: Final = 0.001
"""Of all requests: a smaller change of the share of errors does not matter."""
LEAST_RECOVERIES: Final = 4
"""Fewer recoveries than this on a side carry no interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was measured of a finished task. `recoveries`: seconds that each of its runs took to take its fault back."""

    name: str
    requests: Requests
    recoveries: Sequence[float]


def compare(first: Measured, second: Measured, seed: int = 0) -> Comparison:
    """Median and 95th percentile of latency (ms), share of errors and time to recover (s) of two finished tasks.

    Measures that one of them lacks are left out. Raises UsageError if they have none in common.
    """
    differences = [_latency(f"latency_p{round(100 * share)}", first, second, share, seed) for share in (0.50, 0.95)]
    differences += [_errors(first, second, seed), _recovery(first, second, seed)]
    told = tuple(difference for difference in differences if difference is not None)
    if not told:
        raise UsageError(
            f"found nothing that was measured of both {first.name} and {second.name}, expected requests through a "
            "proxy, or runs that were taken back, in each"
        )
    return Comparison(first=first.name, second=second.name, differences=told)


def verdict(change: Estimate, tolerance: float) -> Literal["worse", "better", "same", "unclear"]:
    """What the interval of a change says, where more is worse."""
    if change.low is None or change.high is None:
        return "unclear"
    if change.low > tolerance:
        return "worse"
    if change.high < -tolerance:
        return "better"
    return "same" if change.low >= -tolerance and change.high <= tolerance else "unclear"


def _latency(measure: str, first: Measured, second: Measured, share: float, seed: int) -> Difference | None:
    one, two = first.requests.quantile(share), second.requests.quantile(share)
    change = quantile_change(first.requests, second.requests, share, seed)
    return _difference(measure, "ms", one, two, change, LATENCY_TOLERANCE * one)


def _errors(first: Measured, second: Measured, seed: int) -> Difference | None:
    one, two = first.requests.error_share(), second.requests.error_share()
    change = error_share_change(first.requests, second.requests, seed)
    return _difference("error_ratio", "", one, two, change, ERROR_TOLERANCE)


def _recovery(first: Measured, second: Measured, seed: int) -> Difference | None:
    """Medians; each recovery is a draw of its own."""
    if not first.recoveries or not second.recoveries:
        return None
    sides = [np.asarray(side.recoveries, dtype=np.float64) for side in (first, second)]
    one, two = (float(np.median(side)) for side in sides)
    change = Estimate(value=two - one)
    if min(len(side) for side in sides) >= LEAST_RECOVERIES:
        generator = np.random.default_rng(seed)
        medians = [np.median(generator.choice(side, size=(DRAWS, len(side))), axis=1) for side in sides]
        bounds = interval(medians[1] - medians[0])
        if bounds is not None:
            change = Estimate(value=two - one, low=bounds[0], high=bounds[1])
    return _difference("recovery_seconds", "s", one, two, change, LATENCY_TOLERANCE * one)


def _difference(
    measure: str, unit: str, one: float, two: float, change: Estimate, tolerance: float
) -> Difference | None:
    if math.isnan(one) or math.isnan(two):
        return None
    return Difference(
        measure=measure, unit=unit, first=one, second=two, change=change, verdict=verdict(change, tolerance)
    )

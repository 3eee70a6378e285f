"""What was measured of requests over a time, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raftchaos.analytics.relations.bootstrap import LEAST_BLOCKS, Counts, drawn, interval, quantiles
from raftchaos.analytics.series import Floats
from raftchaos.errors import UsageError
from raftchaos.model.findings.impact import Estimate


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Requests over a time: for each block (a second, a minute) a histogram of latencies and a count of errors.

    `values` are the latencies that the cells stand for, ms, ascending. `counts` has a row per block and a column per
    cell. `errors` are the requests of each block that were answered with an error, `requests` all of each.
    """

    values: Floats
    counts: Counts
    errors: Floats
    requests: Floats

    def __post_init__(self) -> None:
        shapes = {len(self.counts), len(self.errors), len(self.requests)}
        if self.counts.ndim != 2 or len(shapes) > 1 or self.counts.shape[1] != len(self.values):
            raise UsageError(
                f"found {len(self.counts)} histograms, {len(self.errors)} counts of errors and {len(self.requests)} of "
                "requests, expected one of each a block, with a value for each cell"
            )

    def quantile(self, share: float) -> float:
        """The latency, ms, that `share` of all requests did not pass; NaN without any."""
        return float(quantiles(self.counts.sum(axis=0, keepdims=True), self.values, share)[0])

    def error_share(self) -> float:
        """Errors of all requests, 0 to 1; NaN without any."""
        total = float(self.requests.sum())
        return float(self.errors.sum()) / total if total else float("nan")


def quantile_change(first: Requests, second: Requests, share: float, seed: int) -> Estimate:
    """By how many ms the quantile of `second` is above that of `first`. Both must have the same `values`."""
    found = second.quantile(share) - first.quantile(share)
    if min(len(first.counts), len(second.counts)) < LEAST_BLOCKS:
        return Estimate(value=found)
    generator = np.random.default_rng(seed)
    used = (first.counts.sum(axis=0) + second.counts.sum(axis=0)) > 0
    before, after = (
        quantiles(drawn(side.counts[:, used], generator), side.values[used], share) for side in (first, second)
    )
    return _estimate(found, after - before)


def error_share_change(first: Requests, second: Requests, seed: int) -> Estimate:
    """By how much the share of errors of `second` is above that of `first`, -1 to 1."""
    found = second.error_share() - first.error_share()
    if min(len(first.requests), len(second.requests)) < LEAST_BLOCKS:
        return Estimate(value=found)
    generator = np.random.default_rng(seed)
    shares = []
    for side in (first, second):
        sums = drawn(np.column_stack([side.errors, side.requests]), generator)
        shares.append(np.where(sums[:, 1] > 0, sums[:, 0] / np.maximum(sums[:, 1], 1.0), np.nan))
    return _estimate(found, shares[1] - shares[0])


def _estimate(found: float, differences: Floats) -> Estimate:
    bounds = interval(differences)
    return Estimate(value=found) if bounds is None else Estimate(value=found, low=bounds[0], high=bounds[1])

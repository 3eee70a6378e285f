"""A series taken apart into trend, seasons and rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raftchaos.analytics.forecasts.gaps import without_gaps
from raftchaos.analytics.forecasts.periods import find_periods
from raftchaos.analytics.series import Floats, Series
from raftchaos.errors import UsageError


@dataclass(frozen=True, eq=False)
class Decomposition:
    """value = trend + the sum of the seasonal parts + rest, at each time of the series; gaps were filled before."""

    series: Series
    trend: Floats
    seasonal: dict[int, Floats]
    """By period in steps; empty if no season was found."""
    rest: Floats


def decompose(series: Series, periods: tuple[int, ...] | None = None) -> Decomposition:
    """By STL (Cleveland et al. 1990) with one season, by MSTL (Bandara et al. 2021) with several, robustly against
    outliers.

    Without `periods` those that are found; where there is none, the trend is a straight line. Raises UsageError if the
    series does not hold two of each period.
    """
    values = without_gaps(series).values
    wanted = find_periods(series) if periods is None else tuple(sorted(set(periods)))
    for period in wanted:
        if period < 2 or 2 * period > len(values):
            raise UsageError(f"found a period of {period} steps, expected 2 to {len(values) // 2}, half of the series")
    if not wanted:
        places = np.arange(len(values), dtype=np.float64)
        line: Floats = np.asarray(np.polyval(np.polyfit(places, values, 1), places), dtype=np.float64)
        return Decomposition(series, line, {}, values - line)
    if len(wanted) == 1:
        from statsmodels.tsa.seasonal import STL

        one = STL(values, period=wanted[0], robust=True).fit()
        return Decomposition(
            series, np.asarray(one.trend), {wanted[0]: np.asarray(one.seasonal)}, np.asarray(one.resid)
        )
    from statsmodels.tsa.seasonal import MSTL

    parts = MSTL(values, periods=wanted, stl_kwargs={"robust": True}).fit()
    seasonal = np.asarray(parts.seasonal).reshape(len(values), -1)
    by_period = {period: seasonal[:, place] for place, period in enumerate(wanted)}
    return Decomposition(series, np.asarray(parts.trend), by_period, np.asarray(parts.resid))

"""Before a model is fitted: logarithms or not, and how often to difference."""

from __future__ import annotations

import numpy as np

from raftchaos.analytics.forecasts.css import Orders, differenced, estimate
from raftchaos.analytics.series import Floats

SEASONAL_STRENGTH = 0.64  # above it a season is differenced: Wang, Smith & Hyndman 2006, as R's nsdiffs has it
KPSS_5_PERCENT = 0.463  # critical value of the level-stationarity test, Kwiatkowski et al. 1992, table 1
_MOST_DIFFERENCES = 2


def wants_log(values: Floats, season: int) -> bool:
    """Whether logarithms make the series easier to describe.

    The AICc of one small model, ARIMA(1, 1, 1) with a seasonal difference and a seasonal moving average, of the
    logarithms against that of the values. The density of log y is turned into that of y by the Jacobian, 1 / y: twice
    the sum of log y is added (Box & Cox 1964).
    """
    if values.min() <= 0:
        return False
    seasonal = season > 1 and len(values) > 3 * season + 10
    orders = Orders(1, 1, 1, 0, 1, 1, season) if seasonal else Orders(1, 1, 1, 0, 0, 0, 1)
    logs = np.log(values)
    described = len(differenced(values, orders))  # the first readings are given, not described
    jacobian = 2 * float(logs[-described:].sum())
    return estimate(logs, orders).aicc + jacobian < estimate(values, orders).aicc


def seasonal_strength(values: Floats, season: int) -> float:
    """Share of the detrended variance that the season explains, 0 to 1: max(0, 1 − var(rest) / var(season + rest)).

    From a decomposition by STL (Cleveland et al. 1990); Wang, Smith & Hyndman 2006.
    """
    from statsmodels.tsa.seasonal import STL

    if season < 2 or len(values) < 2 * season + 5:
        return 0.0
    parts = STL(values, period=season, seasonal=13 if season <= 24 else 7).fit()
    both = float(np.var(parts.resid + parts.seasonal))
    return max(0.0, 1.0 - float(np.var(parts.resid)) / both) if both > 0 else 0.0


def differences(values: Floats, most: int = _MOST_DIFFERENCES) -> int:
    """How often to difference until KPSS no longer denies a constant level at 5 %."""
    count = 0
    while count < most and len(values) > 12 and np.ptp(values) > 0 and kpss(values) > KPSS_5_PERCENT:
        values = np.diff(values)
        count += 1
    return count


def kpss(values: Floats) -> float:
    """The statistic of Kwiatkowski, Phillips, Schmidt & Shin 1992 for a constant level.

    Σ S_t² / (n² s²), S_t being the partial sums about the mean and s² the long-run variance by Bartlett weights over
    3 √n / 13 lags, as R's urca has it (`short` of ndiffs).
    """
    count = len(values)
    rest = values - values.mean()
    lags = int(3 * np.sqrt(count) / 13)
    variance = float(rest @ rest) / count
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(rest[lag:] @ rest[:-lag]) / count
    return float(np.sum(np.cumsum(rest) ** 2)) / (count * count * variance) if variance > 0 else 0.0

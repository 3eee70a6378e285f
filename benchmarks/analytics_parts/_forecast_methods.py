"""The forecasters that are compared, each as a function from history to mean and intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Z80, Z95 = 1.2815516, 1.9599640  # deviations of a normal distribution


@dataclass(frozen=True)
class Told:
    """What a method says about the next readings: the middle and the ends of its 80 % and 95 % intervals."""

    mean: Values
    lower80: Values
    upper80: Values
    lower95: Values
    upper95: Values


Method = Callable[[Values, int, int], Told]  # history, season, horizon


def raftchaos(history: Values, season: int, horizon: int) -> Told:
    """What `raftchaos analytics forecast` says: the combination, its intervals widened by errors that came due."""
    from raftchaos.analytics.forecasts.forecast import forecast
    from raftchaos.analytics.series import Series

    series = Series(np.arange(len(history), dtype=np.float64) * 3600.0, history, 3600.0)
    told = forecast(series, horizon, periods=(season,) if season > 1 else ())
    return Told(told.mean, *told.interval(0.8), *told.interval(0.95))


def raftchaos_arima(history: Values, season: int, horizon: int) -> Told:
    """The ARIMA of raftchaos alone, its intervals as the model has them."""
    from raftchaos.analytics.forecasts.arima import fit_arima

    mean, deviation = fit_arima(history, season).predict(horizon)
    return Told(mean, mean - Z80 * deviation, mean + Z80 * deviation, mean - Z95 * deviation, mean + Z95 * deviation)


def _statsforecast(model: object, history: Values, horizon: int) -> Told:
    told = model.forecast(y=history, h=horizon, level=[80, 95])  # type: ignore[attr-defined]
    return Told(told["mean"], told["lo-80"], told["hi-80"], told["lo-95"], told["hi-95"])


def auto_arima(history: Values, season: int, horizon: int) -> Told:
    """AutoARIMA of statsforecast."""
    from statsforecast.models import AutoARIMA

    return _statsforecast(AutoARIMA(season_length=season), history, horizon)


def auto_ets(history: Values, season: int, horizon: int) -> Told:
    """AutoETS of statsforecast."""
    from statsforecast.models import AutoETS

    return _statsforecast(AutoETS(season_length=season), history, horizon)


def seasonal_naive(history: Values, season: int, horizon: int) -> Told:
    """The reading one season ago."""
    from statsforecast.models import SeasonalNaive

    return _statsforecast(SeasonalNaive(season_length=season), history, horizon)


def pmdarima(history: Values, season: int, horizon: int) -> Told:
    """`auto_arima` of pmdarima."""
    from pmdarima import auto_arima as search

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = search(history, seasonal=season > 1, m=season, suppress_warnings=True, error_action="ignore")
        mean, at80 = model.predict(horizon, return_conf_int=True, alpha=0.2)
        at95 = model.predict(horizon, return_conf_int=True, alpha=0.05)[1]
    return Told(np.asarray(mean), at80[:, 0], at80[:, 1], at95[:, 0], at95[:, 1])


METHODS: dict[str, Method] = {
    "raftchaos": raftchaos,
    "raftchaos, ARIMA alone": raftchaos_arima,
    "seasonal naive": seasonal_naive,
    "statsforecast AutoETS": auto_ets,
    "statsforecast AutoARIMA": auto_arima,
    "pmdarima auto_arima": pmdarima,
}

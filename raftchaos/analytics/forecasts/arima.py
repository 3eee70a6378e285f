"""Seasonal ARIMA: orders by conditional least squares, one exact fit by SARIMAX of statsmodels, then kept."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raftchaos.analytics.forecasts.css import Estimate, Orders, differenced, estimate, polynomials
from raftchaos.analytics.forecasts.orders import choose
from raftchaos.analytics.series import Floats

EXACT_SEASON = 24  # with a longer season the state of the exact filter is too large to be worth its time
EXACT_READINGS = 2_000
_EXACT_STEPS = 15  # of the optimiser: it starts next to the end


@dataclass(frozen=True, eq=False)
class Arima:
    """A fitted ARIMA and the readings that it goes on from."""

    values: Floats
    found: Estimate
    coefficients: Floats
    variance: float
    exact: Any = None
    """Results of SARIMAX, where the exact likelihood was affordable."""

    def __str__(self) -> str:
        return str(self.found.orders) + (" with drift" if self.found.drift is not None else "")

    def predict(self, horizon: int) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the next readings."""
        if self.exact is None:
            mean = self.from_origins(np.array([len(self.values)]), horizon)[0]
            return mean, self.deviations(horizon)
        scale = self.exact.raftchaos_scale
        told = self.exact.get_forecast(horizon)
        line = _line(self.found, len(self.values) + np.arange(horizon))
        return np.asarray(told.predicted_mean) * scale + line, np.asarray(told.se_mean) * scale

    def deviations(self, horizon: int) -> Floats:
        """Standard deviations of the errors: σ √(ψ₀² + … + ψₕ₋₁²) (Box & Jenkins 1970, 5.1)."""
        return np.sqrt(self.variance * np.cumsum(self.weights(horizon) ** 2))

    def weights(self, horizon: int) -> Floats:
        """ψ: how much a shock now moves the reading of h steps later."""
        from scipy.signal import lfilter

        ar, ma = polynomials(self.coefficients, self.found.orders)
        whole = np.convolve(ar, _differencing(self.found.orders))
        return np.asarray(lfilter(ma, whole, np.r_[1.0, np.zeros(horizon - 1)]))

    def from_origins(self, origins: Any, horizon: int) -> Floats:
        """What it would have said after so many readings of its own: a row an origin. Coefficients are not estimated
        anew.

        By the difference equation, errors before the first reading being zero.
        """
        from scipy.signal import lfilter

        orders = self.found.orders
        ar, ma = polynomials(self.coefficients, orders)
        level = self.values - _line(self.found, np.arange(len(self.values)))
        lost = len(level) - len(differenced(level, orders))
        errors = np.r_[np.zeros(lost), lfilter(ar, ma, differenced(level, orders))]
        whole = np.convolve(ar, _differencing(orders))
        back, ahead = len(whole) - 1, len(ma) - 1
        places = np.asarray(origins)[:, None]
        path = np.zeros((len(places), back + horizon))
        path[:, :back] = np.r_[np.zeros(back), level][places + np.arange(back)]
        shocks = np.zeros((len(places), ahead + horizon))
        shocks[:, :ahead] = np.r_[np.zeros(ahead), errors][places + np.arange(ahead)]
        for step in range(horizon):
            moved = -path[:, step : step + back] @ whole[:0:-1]
            path[:, back + step] = moved + shocks[:, step : step + ahead] @ ma[:0:-1]
        return path[:, back:] + _line(self.found, places + np.arange(horizon))

    def updated(self, values: Floats) -> Arima:
        """The same model after other readings, its coefficients kept."""
        exact = self.exact
        if exact is not None:
            exact = _filtered(self.found, values, exact.params, exact.raftchaos_scale)
        return replace(self, values=values, exact=exact)

    def trained_on(self, values: Floats) -> Arima:
        """The same orders, the coefficients estimated on these readings only, by conditional least squares."""
        found = estimate(values, self.found.orders, drift=self.found.drift is not None, start=self.found.unbounded)
        return Arima(values, found, found.coefficients, found.variance)


def fit_arima(values: Floats, season: int) -> Arima:
    """The ARIMA whose orders AICc prefers. Values without gaps; a season of 1 is none."""
    found = choose(values, season)
    plain = Arima(values, found, found.coefficients, found.variance)
    if not found.orders.coefficients or found.orders.season > EXACT_SEASON or len(values) > EXACT_READINGS:
        return plain
    return _exactly(plain)


def _exactly(plain: Arima) -> Arima:
    """Coefficients of greatest exact likelihood, from those of least squares; these again where that fails."""
    found, scale = plain.found, float(np.std(differenced(plain.values, plain.found.orders))) or 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an optimiser stopped early is no news: it was told to
        try:
            model = _model(found, plain.values, scale)
            exact = model.fit(start_params=found.coefficients, disp=0, maxiter=_EXACT_STEPS, cov_type="none")
            deviation = np.sqrt(exact.scale) * scale
        except (ValueError, np.linalg.LinAlgError):
            return plain
    if not np.isfinite(exact.llf) or not np.isfinite(deviation):
        return plain
    exact.raftchaos_scale = scale
    return replace(plain, coefficients=np.asarray(exact.params), variance=float(deviation**2), exact=exact)


def _filtered(found: Estimate, values: Floats, coefficients: Floats, scale: float) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exact = _model(found, values, scale).filter(coefficients)
    exact.raftchaos_scale = scale
    return exact


def _model(found: Estimate, values: Floats, scale: float) -> Any:
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    orders = found.orders
    seasonal = (orders.seasonal_p, orders.seasonal_d, orders.seasonal_q, orders.season if orders.season > 1 else 0)
    level = (values - _line(found, np.arange(len(values)))) / scale
    return SARIMAX(level, order=(orders.p, orders.d, orders.q), seasonal_order=seasonal, concentrate_scale=True)


def _differencing(orders: Orders) -> Floats:
    whole = np.ones(1)
    for _ in range(orders.d):
        whole = np.convolve(whole, [1.0, -1.0])
    for _ in range(orders.seasonal_d):
        whole = np.convolve(whole, np.r_[1.0, np.zeros(orders.season - 1), -1.0])
    return whole


def _line(found: Estimate, places: Any) -> Floats:
    """What is deterministic: the mean, or with one difference a straight line."""
    orders = found.orders
    if found.drift is None:
        return np.zeros(np.shape(places))
    if orders.d + orders.seasonal_d == 0:
        return np.full(np.shape(places), found.drift)
    return found.drift / (orders.season if orders.seasonal_d else 1) * np.asarray(places, dtype=np.float64)

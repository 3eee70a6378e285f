"""Seasonal ARIMA by conditional sum of squares: cheap enough to try many orders (Box & Jenkins 1970, chapter 7)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from raftchaos.analytics.series import Floats

_CALLS = 200  # of the errors, by the optimiser
_TOLERANCE = 1e-4  # relative: a finer optimum changes no choice
_HUGE = 1e6  # for errors that overflow
_WIDEST = 3.0  # bound of the unbounded parameters: tanh(3) = 0.995
_TINY = 1e-300


class Orders(NamedTuple):
    """ARIMA(p, d, q)(P, D, Q) with a season of `season` readings (1: none)."""

    p: int
    d: int
    q: int
    seasonal_p: int
    seasonal_d: int
    seasonal_q: int
    season: int

    def __str__(self) -> str:
        words = f"ARIMA({self.p},{self.d},{self.q})"
        return (
            f"{words}({self.seasonal_p},{self.seasonal_d},{self.seasonal_q})[{self.season}]"
            if self.season > 1
            else words
        )

    @property
    def coefficients(self) -> int:
        """How many coefficients of lags there are to estimate."""
        return self.p + self.q + self.seasonal_p + self.seasonal_q


@dataclass(frozen=True)
class Estimate:
    """Orders with their coefficients: p of AR, q of MA, then the seasonal ones, as SARIMAX of statsmodels has them."""

    orders: Orders
    drift: float | None
    """Mean of the differenced series; None if the model has none."""
    unbounded: Floats
    """The coefficients as the optimiser sees them."""
    variance: float
    """Of the one-step errors."""
    aicc: float

    @cached_property
    def coefficients(self) -> Floats:
        """AR, MA, seasonal AR, seasonal MA."""
        return bounded(self.unbounded, self.orders)


def differenced(values: Floats, orders: Orders) -> Floats:
    """(1 − B)^d (1 − B^s)^D of the values."""
    for _ in range(orders.seasonal_d):
        values = values[orders.season :] - values[: -orders.season]
    return np.diff(values, orders.d) if orders.d else values


def polynomials(coefficients: Floats, orders: Orders) -> tuple[Floats, Floats]:
    """AR and MA polynomials in the lag operator, seasonal factors multiplied in: 1 − φ₁B …, 1 + θ₁B …."""
    p, q, seasonal_p = orders.p, orders.q, orders.seasonal_p
    ar = np.r_[1.0, -coefficients[:p]]
    ma = np.r_[1.0, coefficients[p : p + q]]
    if seasonal_p:
        ar = np.convolve(ar, _spread(-coefficients[p + q : p + q + seasonal_p], orders.season))
    if orders.seasonal_q:
        ma = np.convolve(ma, _spread(coefficients[p + q + seasonal_p :], orders.season))
    return ar, ma


def _spread(coefficients: Floats, season: int) -> Floats:
    whole = np.zeros(len(coefficients) * season + 1)
    whole[0] = 1.0
    whole[season::season] = coefficients
    return whole


def bounded(unbounded: Floats, orders: Orders) -> Floats:
    """Any numbers to coefficients of a stationary, invertible model: tanh gives partial autocorrelations, these the
    coefficients by the Durbin–Levinson recursion (Monahan 1984)."""
    partial = np.tanh(unbounded)
    found, at = [], 0
    for count, sign in ((orders.p, 1), (orders.q, -1), (orders.seasonal_p, 1), (orders.seasonal_q, -1)):
        found.append(sign * _from_partial(partial[at : at + count]))
        at += count
    return np.concatenate(found)


def _from_partial(partial: Floats) -> Floats:
    coefficients = np.zeros(0)
    for one in partial:
        coefficients = np.r_[coefficients - one * coefficients[::-1], one]
    return coefficients


def estimate(values: Floats, orders: Orders, *, drift: bool = False, start: Floats | None = None) -> Estimate:
    """The coefficients that make the sum of squared one-step errors least, and the AICc of that model.

    AICc = n log σ² + 2k + 2k(k + 1)/(n − k − 1), with n differenced readings (Hurvich & Tsai 1989).
    """
    from scipy.optimize import leastsq
    from scipy.signal import lfilter

    series = differenced(values, orders)
    count, lags = len(series), orders.coefficients
    spread, middle = float(series.std()) + 1e-12, float(series.mean()) if drift else 0.0
    skipped = min(orders.p + orders.seasonal_p * orders.season, count // 3)
    scaled = (series - middle) / spread

    def errors(at: Floats) -> Floats:
        ar, ma = polynomials(bounded(at[:lags], orders), orders)
        found: Floats = lfilter(ar, ma, scaled - at[lags] if drift else scaled)[skipped:]
        return np.nan_to_num(found, nan=_HUGE, posinf=_HUGE, neginf=-_HUGE)

    begin = np.r_[np.full(lags, 0.1), np.zeros(int(drift))] if start is None else start
    if 0 < len(begin) < count - skipped:
        # the full output, so that an early stop is no warning
        found = leastsq(errors, begin, ftol=_TOLERANCE, xtol=_TOLERANCE, maxfev=_CALLS, full_output=True)[0]
        found[:lags] = np.clip(found[:lags], -_WIDEST, _WIDEST)
        begin = min((begin, found), key=lambda at: float(np.sum(errors(at) ** 2)))
    value = float(np.log(np.mean(errors(begin) ** 2) + _TINY))
    value += 2 * float(np.log(spread))
    free = lags + int(drift) + 1
    aicc = count * value + 2 * free + 2 * free * (free + 1) / max(1, count - free - 1)
    found = middle + float(begin[lags]) * spread if drift else None
    return Estimate(orders, found, begin, float(np.exp(value)), float(aicc))

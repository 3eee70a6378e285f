"""Long seasons: sines and cosines of each season, and an ARMA of what is left (dynamic harmonic regression).

Hyndman & Athanasopoulos 2021, 10.5. A day of minutes has 1440 readings: a seasonal ARIMA would need a state of that
size, six pairs of waves say nearly as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raftchaos.analytics.forecasts.arima import Arima, fit_arima
from raftchaos.analytics.series import Floats

PAIRS = (1, 2, 3, 4, 6, 8, 10, 14, 20)  # numbers of waves that are tried for each season
_WHITENING = 8  # order of the autoregression that whitens the residuals
_SEARCHED = 4_000  # readings on which the orders of the rest are looked for


@dataclass(frozen=True, eq=False)
class Fourier:
    """Waves with their weights, and a model of the rest."""

    values: Floats
    waves: tuple[tuple[int, int], ...]
    """Season and number of pairs of waves, each."""
    weights: Floats
    rest: Arima

    def __str__(self) -> str:
        waves = " + ".join(f"{pairs} waves[{season}]" for season, pairs in self.waves)
        return f"{waves} + {self.rest}"

    def predict(self, horizon: int) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the next readings."""
        return self.from_origins(np.array([len(self.values)]), horizon)[0], self.deviations(horizon)

    def deviations(self, horizon: int) -> Floats:
        """Those of the rest: the error of the weights is small beside it."""
        return self.rest.deviations(horizon)

    def from_origins(self, origins: Any, horizon: int) -> Floats:
        """What it would have said after so many readings of its own: a row an origin."""
        places = np.asarray(origins)[:, None] + np.arange(horizon)
        seasonal = (columns(places.ravel(), self.waves) @ self.weights).reshape(places.shape)
        return self.rest.from_origins(origins, horizon) + seasonal

    def updated(self, values: Floats) -> Fourier:
        """The same model after other readings that begin where its own began."""
        seasonal = columns(np.arange(len(values)), self.waves) @ self.weights
        return replace(self, values=values, rest=self.rest.updated(values - seasonal))

    def trained_on(self, values: Floats) -> Fourier:
        """The same waves and orders, weights and coefficients from these readings only."""
        design = columns(np.arange(len(values)), self.waves)
        weights = _least_squares(design, values)
        return Fourier(values, self.waves, weights, self.rest.trained_on(values - design @ weights))


def columns(places: Any, waves: Sequence[tuple[int, int]]) -> Floats:
    """A constant and the waves of each season at these places."""
    at = np.asarray(places, dtype=np.float64)
    found = [np.ones_like(at)]
    for season, pairs in waves:
        for pair in range(1, pairs + 1):
            angle = 2 * np.pi * pair / season * at
            found += [np.sin(angle), np.cos(angle)]
    return np.stack(found, axis=1)


def fit_fourier(values: Floats, seasons: Sequence[int]) -> Fourier:
    """As many waves of each season as the AICc of the whitened residuals wants; an ARIMA without season of the rest."""
    waves: list[tuple[int, int]] = []
    for season in sorted(seasons, reverse=True):
        waves = min(
            ([*waves, (season, pairs)] for pairs in PAIRS if 2 * pairs < season and 6 * pairs < len(values)),
            key=lambda tried: _criterion(values, tried),
            default=waves,
        )
    design = columns(np.arange(len(values)), waves)
    weights = _least_squares(design, values)
    rest = values - design @ weights
    found = fit_arima(rest[-_SEARCHED:], 1)
    kept = found if len(rest) <= _SEARCHED else Arima(rest, found.found, found.coefficients, found.variance)
    return Fourier(values, tuple(waves), weights, kept)


def _least_squares(design: Floats, values: Floats) -> Floats:
    gram = design.T @ design
    gram[np.diag_indices_from(gram)] += 1e-9 * len(values)  # two seasons may share a wave
    return np.asarray(np.linalg.solve(gram, design.T @ values), dtype=np.float64)


def _criterion(values: Floats, waves: list[tuple[int, int]]) -> float:
    """AICc of the residuals, whitened by an autoregression (Yule–Walker): what is correlated must not look like
    waves."""
    design = columns(np.arange(len(values)), waves)
    rest = values - design @ _least_squares(design, values)
    free = design.shape[1] + _WHITENING + 1
    count = len(values)
    variance = _innovation_variance(rest, min(_WHITENING, count // 4))
    value = count * float(np.log(variance + 1e-300))
    return float(value + 2 * free + 2 * free * (free + 1) / max(1, count - free - 1))


def _innovation_variance(rest: Floats, order: int) -> float:
    """Of the best autoregression of this order: Levinson–Durbin on the autocovariances."""
    count = len(rest)
    covariance = np.array([float(rest[lag:] @ rest[: count - lag]) / count for lag in range(order + 1)])
    variance, weights = covariance[0], np.zeros(0)
    for lag in range(1, order + 1):
        if variance <= 0:
            return 0.0
        reflected = (covariance[lag] - float(weights @ covariance[lag - 1 : 0 : -1])) / variance
        weights = np.r_[weights - reflected * weights[::-1], reflected]
        variance *= 1 - reflected**2
    return float(variance)

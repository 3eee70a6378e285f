"""The forecast that every other must beat: the reading one season ago (Hyndman & Athanasopoulos 2021, 5.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raftchaos.analytics.series import Floats


@dataclass(frozen=True, eq=False)
class Naive:
    """The readings and their longest season (1: the last reading)."""

    values: Floats
    season: int
    variance: float
    """Mean square of the differences over one season."""

    def __str__(self) -> str:
        return f"naive[{self.season}]"

    def predict(self, horizon: int) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the next readings."""
        return self.from_origins(np.array([len(self.values)]), horizon)[0], self.deviations(horizon)

    def deviations(self, horizon: int) -> Floats:
        """σ √(k + 1), k being the whole seasons between the reading that is repeated and its repetition."""
        return np.asarray(np.sqrt(self.variance * (np.arange(horizon) // self.season + 1)), dtype=np.float64)

    def from_origins(self, origins: Any, horizon: int) -> Floats:
        """What it would have said after so many readings of its own: a row an origin."""
        places = np.asarray(origins)[:, None] - self.season + np.arange(horizon) % self.season
        return np.asarray(self.values[places], dtype=np.float64)

    def updated(self, values: Floats) -> Naive:
        """The same after other readings."""
        return replace(self, values=values)

    def trained_on(self, values: Floats) -> Naive:
        """The same season, its spread from these readings only."""
        return fit_naive(values, self.season)


def fit_naive(values: Floats, season: int) -> Naive:
    """The naive of this season, or of the last reading where there is less than a season and one reading."""
    season = season if len(values) > season else 1
    return Naive(values, season, float(np.mean((values[season:] - values[:-season]) ** 2)) if len(values) > 1 else 0.0)

"""How much of a series is news: the correlation of neighbouring readings, and what it costs.

Every test here allows for errors that follow an autoregression of order one. Hamed–Rao corrections and HAC variances
were measured beside it and are wrong several times as often when neighbours are alike (docs/analytics.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raftchaos.analytics.series import Floats

HIGHEST = 0.99  # of ρ: beyond it nothing can be told from a series of any length that is looked at here
LOWEST = -0.9


@dataclass(frozen=True)
class Dependence:
    """Correlation ρ of neighbours, and what `count` readings are worth with it."""

    rho: float
    count: int

    @property
    def independent(self) -> float:
        """So many independent readings say as much about a mean or a slope: n (1 − ρ)/(1 + ρ), at most n."""
        return self.count / self.inflation

    @property
    def inflation(self) -> float:
        """The variance of a slope against that of independent readings: (1 + ρ)/(1 − ρ), at least 1."""
        return max(1.0, (1 + self.rho) / (1 - self.rho))

    @property
    def degrees(self) -> float:
        """Degrees of freedom of t for a slope: (n − 2)(1 − ρ)/(1 + ρ), at most n − 2."""
        return (self.count - 2) / self.inflation


def dependence(rest: Floats) -> Dependence:
    """Of the residuals of a fitted line; NaN where there is no reading.

    ρ = (n r₁ + 2)/(n − 4), since r₁ of residuals of a line is too small by about (2 + 4ρ)/n
    (Marriott & Pope 1954 for the mean; the same expansion with a slope).
    """
    known = np.isfinite(rest)
    count = int(known.sum())
    square = float(np.mean(rest[known] ** 2)) if count else 0.0
    both = known[1:] & known[:-1]
    if count <= 4 or square <= 0 or not both.any():
        return Dependence(0.0, count)
    first = float(np.mean(rest[1:][both] * rest[:-1][both])) / square
    return Dependence(float(np.clip((count * first + 2) / (count - 4), LOWEST, HIGHEST)), count)


def whitened(columns: Floats, places: Floats, rho: float) -> Floats:
    """Columns whose rows are k = places[i] − places[i − 1] steps apart, so weighted that AR(1) errors become
    independent.

    Row i becomes (row i − ρᵏ row i − 1)/√((1 − ρ²ᵏ)/(1 − ρ²)), the first √(1 − ρ²) row (Prais & Winsten 1954, with gaps
    as Savin & White 1978).
    """
    keep = np.sqrt(1 - rho**2)
    if rho == 0:
        return columns
    steps = np.diff(places)
    carried = np.sign(rho) ** steps * np.abs(rho) ** steps
    weight = keep / np.sqrt(1 - carried**2)
    shape = (-1, *[1] * (columns.ndim - 1))
    rest = (columns[1:] - carried.reshape(shape) * columns[:-1]) * weight.reshape(shape)
    return np.concatenate([columns[:1] * keep, rest])

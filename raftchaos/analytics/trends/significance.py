"""Is there a trend? Generalised least squares, and Mann–Kendall as its version on ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raftchaos.analytics.series import Floats
from raftchaos.analytics.trends.dependence import Dependence, dependence, whitened


@dataclass(frozen=True)
class Verdict:
    """What a test says."""

    rate: float
    """Slope per step (of Mann–Kendall: Theil–Sen's)."""
    low: float
    high: float
    """95 % interval of the slope."""
    statistic: float
    """Distributed as t without a trend."""
    dependence: Dependence
    rest: Floats
    """The readings less the line."""

    @property
    def rising(self) -> float:
        """Probability that the slope is above 0: that of t with the statistic, all slopes being as likely
        beforehand."""
        from scipy.stats import t

        return float(t.cdf(self.statistic, self.dependence.degrees))

    @property
    def p_value(self) -> float:
        """Two-sided."""
        return 2 * min(self.rising, 1 - self.rising)


def least_squares(places: Floats, values: Floats) -> Verdict:
    """A straight line with AR(1) errors: ordinary residuals give ρ, the line is fitted anew to whitened readings.

    t with (n − 2)(1 − ρ)/(1 + ρ) degrees of freedom. `places` are step numbers, ascending; `values` have no gaps.
    """
    from scipy.stats import t

    design = np.stack([np.ones_like(places), places - places.mean()], axis=1)
    rest = _beyond_rounding(values - design @ np.linalg.lstsq(design, values, rcond=None)[0], values)
    found = dependence(_on_grid(places, rest))
    white, target = whitened(design, places, found.rho), whitened(values, places, found.rho)
    gram = np.linalg.inv(white.T @ white)
    line = gram @ (white.T @ target)
    variance = float(np.sum((target - white @ line) ** 2)) / (len(values) - 2)
    error = float(np.sqrt(variance * gram[1, 1]))
    rate = float(line[1])
    reach = float(t.ppf(0.975, found.degrees)) * error
    return Verdict(rate, rate - reach, rate + reach, _ratio(rate, error), found, values - design @ line)


def mann_kendall(places: Floats, values: Floats) -> Verdict:
    """Mann–Kendall with the variance that AR(1) ranks leave it, and Theil–Sen's slope with the same.

    S = Σ sign(yⱼ − yᵢ), i < j; var S = n (n − 1)(2n + 5)/18, less the ties, times (1 + ρ)/(1 − ρ), ρ being that of the
    ranks of the readings less Theil–Sen's line (Mann 1945, Kendall 1975; the correction of von Storch 1995, applied
    to the variance instead of to the readings). The interval of the slope are the slopes at rank (N ± t √var S)/2
    (Sen 1968).
    """
    from scipy.stats import rankdata, t

    count = len(values)
    first, second = np.triu_indices(count, 1)
    change = values[second] - values[first]
    slopes = np.sort(change / (places[second] - places[first]))
    rate = float(np.median(slopes))
    rest = values - rate * places
    rest = _beyond_rounding(rest - np.median(rest), values)
    ranks = rankdata(rest)
    found = dependence(_on_grid(places, ranks - ranks.mean()))
    ties = np.unique(values, return_counts=True)[1]
    pairs = count * (count - 1) * (2 * count + 5) - float(np.sum(ties * (ties - 1) * (2 * ties + 5)))
    deviation = float(np.sqrt(max(pairs, 0.0) / 18 * found.inflation))
    score = float(np.sum(np.sign(change)))
    score -= np.sign(score)  # a whole number stands for the interval around it
    reach = float(t.ppf(0.975, found.degrees)) * deviation
    low = int(np.clip(np.floor((len(slopes) - reach) / 2), 0, len(slopes) - 1))
    high = int(np.clip(np.ceil((len(slopes) + reach) / 2), 0, len(slopes) - 1))
    return Verdict(rate, float(slopes[low]), float(slopes[high]), _ratio(score, deviation), found, rest)


def _ratio(value: float, error: float) -> float:
    return value / error if error > 0 else float(np.sign(value)) * 1e6


def _beyond_rounding(rest: Floats, values: Floats) -> Floats:
    """Residuals, or zeros where they are but the rounding of a perfect line, which looks like dependence."""
    return rest if np.abs(rest).max() > 1e-9 * np.abs(values).max() else np.zeros_like(rest)


def _on_grid(places: Floats, values: Floats) -> Floats:
    """The values at their step numbers, NaN between."""
    at = np.round(places - places[0]).astype(int)
    grid = np.full(int(at[-1]) + 1, np.nan)
    grid[at] = values
    return grid

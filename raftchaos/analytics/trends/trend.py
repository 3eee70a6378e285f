"""The trend of a series: direction, rate, confidence and change points, at a cost that does not grow with its
length."""

from __future__ import annotations

from typing import Literal

import numpy as np

from raftchaos.analytics.forecasts.periods import find_periods, seasonal_means
from raftchaos.analytics.series import Floats, Series
from raftchaos.analytics.trends.changes import change_points
from raftchaos.analytics.trends.dependence import Dependence
from raftchaos.analytics.trends.significance import Verdict, least_squares, mann_kendall
from raftchaos.model.findings.trend import ChangePoint, Direction, Trend

MOST_POINTS = 1_440  # a longer series is put together to so many means first
LEAST_READINGS = 10
LEAST_INDEPENDENT = 8.0  # with fewer, the test is wrong more often than it says
LEVEL = 0.05  # two-sided, of the test
SWING = 0.3  # a standard deviation of this share of the median divides stable from volatile
_HEAVY_TAILS = 3.0  # excess kurtosis of the residuals above which ranks decide
_HOUR = 3_600.0
_Test = Literal["generalisedLeastSquares", "mannKendall"]


def find_trend(series: Series, metric: str = "value") -> Trend:
    """Where the series goes.

    Seasons that the series is found to have are taken off first; a long series is put together to at most 1440 means.
    *increasing* or *decreasing* where the slope differs from 0 at 5 %, its confidence the probability of that sign;
    else *stable* or *volatile* by the deviation about the trend, its confidence the probability that the true
    deviation lies on this side of 30 % of the median. *unknown* where fewer than 10 readings, or what 8 independent
    ones would say, are there.
    """
    rest = series.values
    for period in find_periods(series):
        rest = rest - seasonal_means(rest - np.nanmean(rest), period)
    times, values = condensed(series.times, rest, series.step)
    if len(values) < LEAST_READINGS:
        told = f"not enough data: {len(values)} readings, {LEAST_READINGS} are needed"
        return _without(metric, "unknown", 0.0, len(values), told)
    step = float(np.median(np.diff(times)))
    if np.ptp(values) == 0:
        return _without(metric, "stable", 1.0, len(values), f"{metric} never changed: it is {values[0]:g}")
    places = np.round((times - times[0]) / step)
    ranked, fitted = mann_kendall(places, values), least_squares(places, values)
    test: _Test = "mannKendall" if _kurtosis(fitted.rest) > _HEAVY_TAILS else "generalisedLeastSquares"
    deciding = ranked if test == "mannKendall" else fitted
    level = float(np.median(np.abs(values)))
    direction, confidence = _direction(deciding, level)
    per_hour = _HOUR / step
    return Trend(
        metric=metric,
        direction=direction,
        confidence=confidence,
        rate_per_hour=ranked.rate * per_hour,
        rate_low=ranked.low * per_hour,
        rate_high=ranked.high * per_hour,
        p_value=min(1.0, deciding.p_value),
        test=test,
        swing=float(np.std(deciding.rest)) / level if level > 0 else 0.0,
        readings=len(values),
        independent=deciding.dependence.independent,
        change_points=_changes(times, values),
        sentence=_sentence(metric, direction, confidence, deciding, ranked.rate * per_hour),
    )


def condensed(times: Floats, values: Floats, step: float) -> tuple[Floats, Floats]:
    """Readings without gaps: if there are more than 1440, means of as many neighbours each as that takes."""
    known = np.isfinite(values)
    size = -(-len(values) // MOST_POINTS) if known.sum() > MOST_POINTS else 1
    if size == 1:
        return times[known], values[known]
    block = np.arange(len(values)) // size
    counts = np.bincount(block[known], minlength=int(block[-1]) + 1)
    sums = np.bincount(block[known], weights=values[known], minlength=len(counts))
    full = counts > size // 2
    starts = times[0] + step * size * np.flatnonzero(full)
    return starts, sums[full] / counts[full]


def _direction(verdict: Verdict, level: float) -> tuple[Direction, float]:
    if verdict.dependence.independent < LEAST_INDEPENDENT:
        return "unknown", 0.0
    rising = verdict.rising
    if rising > 1 - LEVEL / 2:
        return "increasing", rising
    if rising < LEVEL / 2:
        return "decreasing", 1 - rising
    calm = _calm(verdict.rest, verdict.dependence, level)
    return ("stable", calm) if calm >= 0.5 else ("volatile", 1 - calm)


def _calm(rest: Floats, found: Dependence, level: float) -> float:
    """Probability that the true deviation is below the limit: of (n σ̂²)/σ² as χ², with what AR(1) leaves of its
    degrees of freedom, (n − 2)(1 − ρ²)/(1 + ρ²) (Bayley & Hammersley 1946)."""
    from scipy.stats import chi2

    if level <= 0:
        return 0.0
    degrees = max(1.0, (found.count - 2) * (1 - found.rho**2) / (1 + found.rho**2))
    return float(chi2.sf(degrees * float(np.var(rest)) / (SWING * level) ** 2, degrees))


def _kurtosis(rest: Floats) -> float:
    """Excess of the fourth moment over that of a normal distribution."""
    square = float(np.mean(rest**2))
    return float(np.mean(rest**4)) / square**2 - 3 if square > 0 else 0.0


def _changes(times: Floats, values: Floats) -> tuple[ChangePoint, ...]:
    found = change_points(values)
    bounds = [0, *found, len(values)]
    return tuple(
        ChangePoint(
            at=float(times[place]),
            before=float(np.median(values[bounds[number] : place])),
            after=float(np.median(values[place : bounds[number + 2]])),
        )
        for number, place in enumerate(found)
    )


def _without(metric: str, direction: Direction, confidence: float, readings: int, sentence: str) -> Trend:
    return Trend(
        metric=metric,
        direction=direction,
        confidence=confidence,
        rate_per_hour=0.0,
        rate_low=0.0,
        rate_high=0.0,
        p_value=1.0,
        test="none",
        swing=0.0,
        readings=readings,
        independent=float(readings),
        sentence=sentence,
    )


def _sentence(metric: str, direction: Direction, confidence: float, verdict: Verdict, per_hour: float) -> str:
    worth = verdict.dependence.independent
    if direction == "unknown":
        return f"not enough independent data: the {verdict.dependence.count} readings say as much as {worth:.0f} would"
    sure = f"{100 * min(confidence, 0.9999):.4g} % sure"
    if direction in ("increasing", "decreasing"):
        return f"{metric} is {direction} by {abs(per_hour):.3g} an hour ({sure})"
    return f"{metric} is {direction}: no trend is seen ({sure})"

"""Which seasons a series has: candidates by the clock and by the periodogram, each tested before it is believed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raftchaos.analytics.series import Floats, Series
from raftchaos.analytics.trends.dependence import dependence

CLOCK = (3_600.0, 86_400.0, 604_800.0)  # seconds: hour, day, week
_BINS = 48  # at most so many parts of a season are told apart
_LEVEL = 1e-3  # of the test: several candidates are tried
_SHARE = 0.1  # of the variance, at least: a weaker season is not worth its parameters
_FEWEST_CYCLES = 2.0  # of a season of the clock; of any other three, as nothing else speaks for it
_PEAKS = 3
_MULTIPLES = (2, 3, 4)  # a season often has a harmonic that is stronger than itself


def find_periods(series: Series) -> tuple[int, ...]:
    """The seasons of a series in steps, shortest first; may be empty.

    The clock's first: hour, day and week, as far as they are whole numbers of steps. Each is tested on what the shorter
    ones have left. Only where the clock has none, the highest peaks of the periodogram are tried.
    """
    rest = _detrended(series.values)
    found = []
    for seconds in CLOCK:
        period = round(seconds / series.step)
        if abs(period * series.step - seconds) < 1e-6 * seconds and _seen(rest, period, _FEWEST_CYCLES):
            found.append(period)
            rest = rest - seasonal_means(rest, period)
    return tuple(found) or _by_periodogram(rest)


def seasonal_means(values: Floats, period: int) -> Floats:
    """For each reading the mean of its place in the season, over all seasons; 0 where there is none."""
    phase = np.arange(len(values)) % period
    known = np.isfinite(values)
    counts = np.bincount(phase[known], minlength=period)
    sums = np.bincount(phase[known], weights=values[known], minlength=period)
    return np.divide(sums, counts, out=np.zeros(period), where=counts > 0)[phase]


def _by_periodogram(rest: Floats) -> tuple[int, ...]:
    """The period of a peak that stands out of the spectrum of whitened readings, and of its multiples the longest seen.

    An ordinate of white noise is exponential: of n/2 one exceeds the mean times ln(n / 2 / p) with probability p
    (Fisher 1929; the mean is told from the median, which peaks do not raise).
    """
    filled = np.nan_to_num(rest)
    count = len(filled)
    if count < 12 or np.ptp(filled) == 0:
        return ()
    white = filled[1:] - dependence(rest).rho * filled[:-1]
    power = np.abs(np.fft.rfft(white)) ** 2
    least = float(np.median(power)) / np.log(2) * np.log(count / 2 / _LEVEL)
    power[:3] = 0  # fewer than three cycles are no season
    peaks = [peak for peak in np.argsort(power)[::-1][:_PEAKS] if power[peak] > least]
    for period in _nearest_periods(filled, [(count - 1) / peak for peak in peaks]):
        if _seen(rest, period, 3.0):
            left = rest - seasonal_means(rest, period)
            longer = [period * times for times in _MULTIPLES if _seen(left, period * times, 3.0)]
            return (max(longer, default=period),)
    return ()


def _nearest_periods(filled: Floats, wanted: Sequence[float]) -> list[int]:
    """The periodogram's grid is coarse: of the whole periods near each peak, the one of the highest autocorrelation."""
    found = []
    count = len(filled)
    for period in wanted:
        reach = max(1, int(np.ceil(period**2 / count)))
        lags = np.arange(max(2, int(period) - reach), min(count // 3, int(period) + reach + 1) + 1)
        if len(lags):
            likeness = [float(filled[lag:] @ filled[:-lag]) / (count - lag) for lag in lags]
            found.append(int(lags[int(np.argmax(likeness))]))
    return found


def _seen(values: Floats, period: int, cycles: float) -> bool:
    """Analysis of variance by place in the season. Readings at the same place lie a season apart and are independent;
    the places are not independent of each other, which the degrees of freedom allow for as those of a trend do."""
    from scipy.stats import f

    known = np.isfinite(values)
    count = int(known.sum())
    if period < 2 or len(values) < cycles * period or count < 12:
        return False
    bins = min(period, _BINS)
    phase = (np.arange(len(values)) % period) * bins // period
    counts = np.bincount(phase[known], minlength=bins)
    sums = np.bincount(phase[known], weights=values[known], minlength=bins)
    means = np.divide(sums, counts, out=np.zeros(bins), where=counts > 0)
    rest = values - means[phase]
    left, total = float(np.nansum(rest**2)), float(np.nansum((values - np.nanmean(values)) ** 2))
    if total <= 0 or 1 - left / total < _SHARE or count <= bins:
        return False
    worth = dependence(rest).inflation
    between, within = max(1.0, (bins - 1) / worth), max(1.0, (count - bins) / worth)
    if left <= 1e-12 * total:
        return True
    ratio = ((total - left) / (bins - 1)) / (left / (count - bins))
    return float(f.sf(ratio, between, within)) < _LEVEL


def _detrended(values: Floats) -> Floats:
    known = np.isfinite(values)
    if known.sum() < 3:
        return values
    places = np.arange(len(values), dtype=np.float64)
    slope, level = np.polyfit(places[known], values[known], 1)
    return np.asarray(values - slope * places - level)

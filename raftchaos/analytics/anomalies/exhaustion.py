"""A resource that will be used up: a trend that is no accident crosses the limit within the time it was looked at.

The trend of the last 20, 120 and 720 minutes is the median of the slopes between all pairs of (at most 40) means of the
window (H. Theil 1950, P. Sen 1968), with the interval that the ranks give (Sen, JASA 63); it counts if its whole 99.9 %
interval rises. Nothing is extrapolated further than the window is long, and a level that was reached before without
harm, as a heap's sawtooth reaches it, is none: the last values must be above all of the last day before the window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np

from raftchaos.analytics.anomalies.signal import Signal
from raftchaos.analytics.series import Floats, Series
from raftchaos.model.findings.anomaly import AnomalyType

MINUTE: Final = 60.0
WINDOWS: Final = (20, 120, 720)
POINTS: Final = 40
QUANTILE: Final = 3.29  # of the normal distribution: 99.9 % between both sides
FULL: Final = 0.97  # of the limit: above it there is nothing left to forecast
RENEWED: Final = 3  # minutes in a row that must say so
DAY_MINUTES: Final = 1_440


@dataclass(frozen=True, slots=True)
class Crossing:
    """When a limit will be reached: seconds from the last value, likely, at the earliest, and at the latest."""

    seconds: float
    earliest: float
    latest: float


Forecast = Callable[[Series, float], Crossing | None]
"""Of a series and a limit: when the limit will be reached, None if it will not within as long as the series is."""


def trend_crossing(series: Series, limit: float) -> Crossing | None:
    """When the robust trend of a series reaches the limit; None if it need not rise, or not within its own length."""
    values = _means(series.values[~np.isnan(series.values)])
    count = len(values)
    if count < 10:
        return None
    step = len(series) * series.step / count
    first, second = np.triu_indices(count, 1)
    slopes = np.sort((values[second] - values[first]) / (second - first)) / step
    slope = float(np.median(slopes))
    level = float(np.median(values - slope * step * np.arange(count))) + slope * step * (count - 1)
    width = QUANTILE * math.sqrt(count * (count - 1) * (2 * count + 5) / 18 * _inflation(values, slope * step))
    place = (len(slopes) - width) / 2
    if place < 1:
        return None
    low, high = float(slopes[int(place)]), float(slopes[-1 - int(place)])
    left = limit - level
    length = len(series) * series.step
    if low <= 0 or left > slope * length:
        return None
    return Crossing(max(0.0, left / slope), max(0.0, left / high), max(0.0, left / low))


def _means(values: Floats) -> Floats:
    """At most 40 means of runs of equal length; what is left over at the beginning is left out."""
    run = max(1, len(values) // POINTS)
    kept = len(values) // run * run
    return values[len(values) - kept :].reshape(-1, run).mean(axis=1) if kept else values


def _inflation(values: Floats, slope: float) -> float:
    """The factor (1 + ρ) / (1 - ρ) by which neighbours that resemble each other widen the variance of the ranks."""
    rest = values - slope * np.arange(len(values))
    rest = rest - rest.mean()
    total = float(rest @ rest)
    if total <= 1e-12 * float(values @ values):
        return 1.0
    rho = (len(values) * float(rest[1:] @ rest[:-1]) / total + 2) / (len(values) - 4)  # less its bias
    rho = min(max(rho, 0.0), 0.9)
    return (1 + rho) / (1 - rho)


class ExhaustionWatch:
    """Watches how much of a resource is used, minute by minute, against its limit. Least data: 20 minutes.

    `forecast` says when a limit is crossed; the robust trend does where nothing better is given.
    """

    def __init__(self, metric: str, limit: float = 100.0, forecast: Forecast = trend_crossing) -> None:
        self.metric = metric
        self._limit = limit
        self._forecast = forecast
        self._buffer = np.zeros(2 * DAY_MINUTES)
        self._count = 0  # of what the buffer holds
        self._row = 0

    def update(self, time: float, used: float) -> Signal | None:
        """Take the mean of the minute that begins at `time`, in the unit of the limit. NaN says nothing."""
        if not math.isfinite(used):
            return None
        self._remember(used)
        if used >= FULL * self._limit and self._count >= WINDOWS[0]:
            return self._signal(time, used, Crossing(0.0, 0.0, 0.0), 0)
        found = self._crossing()
        self._row = self._row + 1 if found is not None else 0
        if found is None or self._row < RENEWED:
            return None
        return self._signal(time, used, *found)

    def _remember(self, used: float) -> None:
        if self._count == len(self._buffer):
            self._buffer[:DAY_MINUTES] = self._buffer[DAY_MINUTES:]
            self._count = DAY_MINUTES
        self._buffer[self._count] = used
        self._count += 1

    def _crossing(self) -> tuple[Crossing, int] | None:
        """The first crossing that one of the windows shows, with its length."""
        values = self._buffer[max(0, self._count - DAY_MINUTES) : self._count]
        for length in WINDOWS:
            if len(values) < length:
                break
            window, before = values[-length:], values[:-length]
            recent, early = median(window[-5:].tolist()), median(window[:5].tolist())
            # the chord of the window must nearly reach the limit before the trend is worth its time
            if recent + 2 * max(0.0, recent - early) < self._limit or recent <= float(before.max(initial=-math.inf)):
                continue
            found = self._forecast(Series.regular(0.0, MINUTE, window), self._limit)
            if found is not None:
                return found, length
        return None

    def _signal(self, time: float, used: float, crossing: Crossing, length: int) -> Signal:
        evidence: dict[str, float | str] = {
            "used": round(used, 4),
            "limit": self._limit,
            "secondsLeft": round(crossing.seconds, 1),
            "secondsLeftAtLeast": round(crossing.earliest, 1),
            "secondsLeftAtMost": round(min(crossing.latest, 1e9), 1),
            "minutes": length,
        }
        horizon = max(length, 1) * MINUTE
        severity = 0.5 + 0.5 * max(0.0, 1 - crossing.seconds / horizon) if length else 1.0
        return Signal(AnomalyType.RESOURCE_EXHAUSTION, self.metric, time + MINUTE, severity, evidence)

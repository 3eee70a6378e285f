"""Latency that is longer than usual at this time of day, by the surprise of its logarithm.

r = log q - median of log q in this quarter of an hour of the day and the two beside it (the last 30 minutes of each;
the last hour before there is a day). Logarithms, since latency grows by factors. The means of the last 1, 3 and 10 such
residuals each have a surprise (see `surprise`), and the largest one decides. While it alarms nothing is learned, so
that a second incident surprises as much as the first, until it has lasted an hour: then that is what is usual.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median
from typing import Final

from raftchaos.analytics.anomalies.memory import DAY, SeasonalMedian
from raftchaos.analytics.anomalies.signal import Signal, excess
from raftchaos.analytics.anomalies.surprise import TailSurprise
from raftchaos.model.findings.anomaly import AnomalyType

MINUTE: Final = 60.0
MEANS: Final = (1, 3, 10)
LINE: Final = 5.3  # of the surprise: once in 200 000 minutes, if the tail is as fitted
EXPONENTIAL: Final = 50  # so many excesses speak for an exponential tail: the tail of few is not to be trusted
LEAST_FACTOR: Final = 1.2  # a fifth longer is felt; half of it in the last minute is the end
RECENT: Final = 60  # minutes that say what is usual in the first day
RENEWED: Final = 60  # minutes of alarm after which what it shows is the new usual


class LatencyWatch:
    """Watches one quantile of latency in milliseconds, minute by minute. Least data: 160 minutes with requests."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self._season = SeasonalMedian(DAY, 96, 30, least=30)
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._residuals: deque[float] = deque(maxlen=max(MEANS))
        self._tails = {length: TailSurprise(prior=EXPONENTIAL) for length in MEANS}
        self._first: float | None = None
        self._alarms = 0

    def update(self, time: float, latency: float) -> Signal | None:
        """Take the quantile of the minute that begins at `time`. A minute without requests (NaN) says nothing."""
        if not (math.isfinite(latency) and latency > 0):
            return None
        value = math.log(latency)
        usual = self._usual(time)
        if usual is None:
            self._remember(time, value)
            return None
        self._residuals.append(value - usual)
        last = list(self._residuals)
        means = {length: math.fsum(last[-length:]) / length for length in MEANS if length <= len(last)}
        surprises = {length: self._tails[length].of(mean) for length, mean in means.items()}
        worst = max(surprises, key=lambda length: surprises[length])
        alarm = surprises[worst] >= LINE and min(means[worst], 2 * last[-1]) >= math.log(LEAST_FACTOR)
        if self._alarms and not alarm:  # it is over: what it left in the means shall not be learned
            self._residuals = deque(last[-1:], maxlen=max(MEANS))
            means = {1: last[-1]}
        self._alarms = self._alarms + 1 if alarm else 0
        if not alarm or self._alarms > RENEWED:
            for length, mean in means.items():
                self._tails[length].learn(mean)
            self._remember(time, value)
        if not alarm:
            return None
        evidence: dict[str, float | str] = {
            "milliseconds": round(latency, 3),
            "usualMilliseconds": round(math.exp(usual), 3),
            "factor": round(math.exp(means[worst]), 3),
            "minutes": worst,
            "surprise": round(surprises[worst], 2),
        }
        severity = excess(math.exp(means[worst]))
        since = time - (worst - 1) * MINUTE
        return Signal(AnomalyType.LATENCY, self.metric, time + MINUTE, severity, evidence, since=since)

    def _usual(self, time: float) -> float | None:
        usual = self._season.expected(time) if self._first is not None and time - self._first >= DAY else None
        if usual is not None:
            return usual
        return median(self._recent) if len(self._recent) == RECENT else None

    def _remember(self, time: float, value: float) -> None:
        self._first = time if self._first is None else self._first
        self._recent.append(value)
        self._season.learn(time, value)

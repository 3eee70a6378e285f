"""Too many or too few events: the tail probability of sums of minutes under a seasonal negative-binomial baseline.

mean of a minute = profile of its quarter of an hour of the day × level of the last two hours; the variance of a sum of
k minutes with mean M is M + α_k M², with an α for each k, since minutes next to each other share their fate. Only quiet
minutes teach: one beyond four standard deviations counts as if it were there, so that no spike widens what is usual.
A count of independent events would have α = 0 (Poisson), with which overdispersed events alarm all day.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from scipy.special import betainc, gammainc, gammaincc

from raftchaos.analytics.anomalies.signal import Signal, excess
from raftchaos.model.findings.anomaly import AnomalyType

MINUTE: Final = 60.0
SPIKE_SUMS: Final = (1, 2, 5, 15)
QUIET_SUMS: Final = (1, 2, 5, 15, 30, 60)
SPIKE_LINE: Final = 2e-5  # the probability below which a sum is a spike
QUIET_LINE: Final = 1e-5
LEAST: Final = 60  # minutes before anything is said
BINS: Final = 96
DAY_MINUTES: Final = 1_440
LEVEL_MINUTES: Final = 120.0
FIRST_LEVEL_MINUTES: Final = 30.0  # in the first day, when the level has to follow the time of day too
PROFILE_DAYS: Final = 7.0
SPREAD_MINUTES: Final = 1_440.0
POISSON: Final = (
    1e-4  # of the mean: less overdispersion than this is none, and would cost the incomplete beta its digits
)
BOTH_SIDES: Final = 0.6  # of the variance of one quarter is left in the mean of two, mostly
CAUTION: Final = 1.1  # estimated dispersions are multiplied by it: tails are heavier than the negative binomial's
BEYOND: Final = 4.0  # standard deviations from which a minute teaches nothing more


def upper_tail(count: float, mean: float, alpha: float) -> float:
    """P(N >= count) of a negative binomial with this mean and variance mean + alpha mean²; Poisson where alpha is 0."""
    if count <= 0:
        return 1.0
    if alpha * mean < POISSON:
        return float(gammainc(count, mean))
    return float(betainc(count, 1 / alpha, alpha * mean / (1 + alpha * mean)))


def lower_tail(count: float, mean: float, alpha: float) -> float:
    """P(N <= count) of the same distribution."""
    if alpha * mean < POISSON:
        return float(gammaincc(count + 1, mean))
    return float(betainc(1 / alpha, count + 1, 1 / (1 + alpha * mean)))


class CountWatch:
    """Watches the count of one kind of event, minute by minute.

    Least data: an hour; before a day has passed only sums of one and two minutes are looked at, and only for spikes.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self._minutes = 0
        self._profile = [0.0] * BINS
        self._days = [0.0] * BINS
        self._counts: deque[float] = deque(maxlen=max(QUIET_SUMS))
        self._means: deque[float] = deque(maxlen=max(QUIET_SUMS))
        self._seen, self._usual = 0.0, 0.0  # the level is their ratio
        self._squares = dict.fromkeys(QUIET_SUMS, (0.0, 0.0))

    def update(self, time: float, count: float) -> Signal | None:
        """Take the count of the minute that begins at `time`, and say whether it makes something unusual."""
        mean = self.expected(time)
        self._counts.append(count)
        self._means.append(mean)
        signal = self._judge(time) if self._minutes >= LEAST else None
        self._learn(time, count, mean)
        return signal

    def expected(self, time: float) -> float:
        """The usual count of the minute that begins at `time`."""
        level = self._seen / self._usual if self._usual > 0 else 1.0
        return max(level * self._shape(time), 1e-3)

    def alpha(self, length: int) -> float:
        """The dispersion of sums of so many minutes, by moments, with a little added for caution."""
        above, squared = self._squares[length]
        return CAUTION * max(0.0, above / squared) if squared > 0 else 0.0

    def _unsure(self, time: float) -> float:
        """The relative variance of the profile at a time, which is the mean of 15 minutes of each of its days."""
        days = min(self._days[int(time // 900) % BINS], PROFILE_DAYS)
        if self._minutes < DAY_MINUTES or not days:
            return 0.0
        usual = 15 * self.expected(time)
        return BOTH_SIDES * (1 / usual + self.alpha(15)) / days

    def _shape(self, time: float) -> float:
        """The profile at a time, on straight lines between the middles of the quarters; 1 before there is a day."""
        if self._minutes < DAY_MINUTES:
            return 1.0
        place = time / 900.0 - 0.5
        here = math.floor(place)
        part = place - here
        one, two = here % BINS, (here + 1) % BINS
        if not (self._days[one] and self._days[two]):
            return max(self._profile[one], self._profile[two], 1e-3)
        return max((1 - part) * self._profile[one] + part * self._profile[two], 1e-3)

    def _judge(self, time: float) -> Signal | None:
        counts, means = list(self._counts), list(self._means)
        whole = self._minutes >= DAY_MINUTES
        unsure = self._unsure(time)
        best: tuple[float, AnomalyType, int, float, float] | None = None
        for length in QUIET_SUMS if whole else (1, 2):
            if length > len(counts):
                break
            total, mean = math.fsum(counts[-length:]), math.fsum(means[-length:])
            alpha = self.alpha(length) + unsure * min(1.0, 15 / length)
            deviation = (total - mean) / math.sqrt(mean + alpha * mean * mean)
            if deviation > 2 and length in SPIKE_SUMS:
                found = upper_tail(total, mean, alpha) / SPIKE_LINE, AnomalyType.EVENT_SPIKE, length, total, mean
            elif deviation < -1 and whole:
                found = lower_tail(total, mean, alpha) / QUIET_LINE, AnomalyType.UNEXPECTED_QUIET, length, total, mean
            else:
                continue
            if found[0] < 1 and (best is None or found[0] < best[0]) and self._lasts((total - mean) / mean):
                best = found
        return self._signal(time, *best) if best else None

    def _lasts(self, deviation: float) -> bool:
        """Whether the last three minutes have at least half of a relative deviation: else it is over."""
        counts, means = list(self._counts)[-3:], list(self._means)[-3:]
        now = sum(counts) / sum(means) - 1
        return now >= deviation / 2 if deviation > 0 else now <= deviation / 2

    def _signal(self, time: float, odds: float, kind: AnomalyType, length: int, total: float, mean: float) -> Signal:
        spike = kind is AnomalyType.EVENT_SPIKE
        evidence: dict[str, float | str] = {
            "count": total,
            "expected": round(mean, 3),
            "minutes": length,
            "probability": odds * (SPIKE_LINE if spike else QUIET_LINE),
            "dispersion": round(self.alpha(length), 5),
        }
        severity = excess(total / mean) if spike else 1 - total / mean
        return Signal(kind, self.metric, time + MINUTE, severity, evidence, since=time - (length - 1) * MINUTE)

    def _learn(self, time: float, count: float, mean: float) -> None:
        """Level and profile take a minute within four standard deviations, and the dispersions only such minutes."""
        early = self._minutes < LEAST
        deviation = math.sqrt(mean + self.alpha(1) * mean * mean)
        quiet = early or abs(count - mean) <= BEYOND * max(deviation, 1.0)
        taken = count if early else min(max(count, mean - BEYOND * deviation), mean + BEYOND * deviation)
        if quiet and self._minutes >= LEAST // 2:
            self._learn_spread()
        bin_ = int(time // 900) % BINS
        self._days[bin_] += 1 / 15
        share = max(1 / (15 * self._days[bin_]), 1 / (15 * PROFILE_DAYS))
        self._profile[bin_] += share * (taken - self._profile[bin_])
        self._minutes += 1
        if self._minutes == DAY_MINUTES:
            self._seen = self._usual = 0.0  # from now on the level is one over the profile
        keep = 1 - 1 / (LEVEL_MINUTES if self._minutes >= DAY_MINUTES else FIRST_LEVEL_MINUTES)
        self._seen = self._seen * keep + taken
        self._usual = self._usual * keep + self._shape(time)

    def _learn_spread(self) -> None:
        counts, means = list(self._counts), list(self._means)
        keep = 1 - 1 / SPREAD_MINUTES
        for length in QUIET_SUMS:
            if length > len(counts):
                break
            total, mean = math.fsum(counts[-length:]), math.fsum(means[-length:])
            difference = total - mean
            if difference * difference > 25 * (mean + (self.alpha(length) + 1e-3) * mean * mean):
                continue
            above, squared = self._squares[length]
            self._squares[length] = (above * keep + difference * difference - mean, squared * keep + mean * mean)

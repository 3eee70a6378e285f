"""More errors than usual, or than anybody should bear: binomial tests of the last minutes.

With k errors of n requests in the last 1, 5 or 15 minutes and a usual share p, the probability of k or more is
P(B(n, p) >= k). Errors come in clusters, so k and n are first divided by the design effect φ, the mean of
(k - n p)² / (n p (1 - p)) over quiet minutes (J. Rao and A. Scott, Annals of Statistics 12, 1984); φ >= 1.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from scipy.special import betainc

from raftchaos.analytics.anomalies.signal import Signal
from raftchaos.model.findings.anomaly import AnomalyType

MINUTE: Final = 60.0
SUMS: Final = (1, 5, 15)
LINE: Final = 1e-6  # the probability below which there are more errors than usual
LEAST_SHARE: Final = 0.01  # of requests: fewer errors than this are no finding, however unusual
BOUND: Final = 0.1  # a share of errors that is too high whatever is usual
BOUND_LINE: Final = 1e-3  # the probability that is left to a share below the bound
LEAST: Final = 30  # minutes before anything is compared with what is usual; the bound holds from the first
BASE_MINUTES: Final = 1_440.0
FLOOR: Final = 1e-4  # the least share that is taken as usual


def at_least(errors: float, requests: float, share: float) -> float:
    """P(B(requests, share) >= errors), by the incomplete beta function, which takes broken numbers too."""
    if errors <= 0:
        return 1.0
    return float(betainc(errors, max(requests - errors, 0.0) + 1, share))


class ErrorWatch:
    """Watches the share of requests that fail, minute by minute. Least data: half an hour; for the bound a minute."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self._last: deque[tuple[float, float]] = deque(maxlen=max(SUMS))
        self._errors, self._requests = 0.0, 0.0
        self._effect, self._weight = 0.0, 0.0
        self._minutes = 0

    def update(self, time: float, errors: float, requests: float) -> Signal | None:
        """Take the errors and requests of the minute that begins at `time`. One without requests says nothing."""
        if requests <= 0:
            return None
        self._last.append((errors, requests))
        usual, effect = self.usual(), self.effect()
        best: tuple[float, int, float, float, float] | None = None
        last = list(self._last)
        for length in SUMS:
            if length > len(last):
                break
            failed, asked = sum(one for one, _ in last[-length:]), sum(one for _, one in last[-length:])
            share = failed / asked
            unusual = self._minutes >= LEAST and share >= LEAST_SHARE and share > usual
            odds = at_least(failed / effect, asked / effect, usual) if unusual else 1.0
            bound = at_least(failed, asked, BOUND) if share > BOUND else 1.0
            found = min(odds / LINE, bound / BOUND_LINE)
            if found < 1 and (best is None or found < best[0]):
                best = found, length, failed, asked, min(odds, 1.0)
        self._learn(errors, requests, quiet=best is None)
        if best is None:
            return None
        _, length, failed, asked, odds = best
        return self._signal(time, length, failed, asked, usual, odds)

    def usual(self) -> float:
        """The share of errors of the last day, at least 0.0001."""
        return max(FLOOR, (self._errors + 0.5) / (self._requests + 1)) if self._minutes else FLOOR

    def effect(self) -> float:
        """The design effect: how much more the errors of quiet minutes vary than independent ones would."""
        return max(1.0, self._effect / self._weight) if self._weight > 0 else 1.0

    def _signal(self, time: float, length: int, failed: float, asked: float, usual: float, odds: float) -> Signal:
        share = failed / asked
        evidence: dict[str, float | str] = {
            "errors": failed,
            "requests": asked,
            "share": round(share, 5),
            "usualShare": round(usual, 5),
            "minutes": length,
            "probability": odds,
        }
        severity = max(0.0, (share - usual) / (1 - usual)) ** 0.5
        since = time - (length - 1) * MINUTE
        return Signal(AnomalyType.HIGH_ERROR_RATE, self.metric, time + MINUTE, severity, evidence, since=since)

    def _learn(self, errors: float, requests: float, *, quiet: bool) -> None:
        """Quiet minutes teach what is usual; one that alarms counts for a tenth, so that a lasting change is taken."""
        weight = 1.0 if quiet else 0.1
        share = self.usual()
        if quiet and self._minutes >= LEAST // 2:
            chi = (errors - requests * share) ** 2 / (requests * share * (1 - share))
            keep = 1 - 1 / BASE_MINUTES
            self._effect, self._weight = self._effect * keep + min(chi, 25 * self.effect()), self._weight * keep + 1
        keep = 1 - weight / BASE_MINUTES
        self._errors = self._errors * keep + weight * errors
        self._requests = self._requests * keep + weight * requests
        self._minutes += 1

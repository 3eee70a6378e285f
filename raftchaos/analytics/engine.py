"""`AdvancedAnalyticsEngine`: what a recording means."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from raftchaos.analytics.anomalies.incidents import KnownFault
from raftchaos.analytics.forecasts.findings import finding, insight, settled
from raftchaos.analytics.forecasts.keeper import Keeper
from raftchaos.analytics.recording.analytics import ChaosAnalytics
from raftchaos.analytics.relations.correlation import correlations
from raftchaos.analytics.relations.impact import impact_by_time
from raftchaos.analytics.series import Series
from raftchaos.analytics.trends.trend import find_trend
from raftchaos.analytics.watching import FULL, Watching
from raftchaos.core.health import HealthScore, score
from raftchaos.errors import UsageError
from raftchaos.model.findings.anomaly import Anomaly
from raftchaos.model.findings.correlation import Correlation
from raftchaos.model.findings.forecast import Forecast
from raftchaos.model.findings.impact import Impact
from raftchaos.model.findings.insight import Insight
from raftchaos.model.findings.trend import Trend

MINUTE: Final = 60
RECENT: Final = 300.0
"""Seconds that the health score looks back."""
DAY: Final = 86_400.0
"""Before them, so many seconds say which latency is usual."""
LEAST_FORECAST: Final = 30
"""Minutes that were recorded before anything is predicted."""
HORIZON: Final = 30
"""Minutes that an insight looks ahead."""
INSIGHTS: Final = 500
"""Insights that are remembered, due or not."""
KEPT: Final = 32
"""Models that are kept, of as many metrics and horizons."""
LATENCIES: Final = ("latency_p50", "latency_p95", "latency_p99")
FORETOLD: Final = ("total_events", "error_ratio", "latency_p95", *FULL)
"""The metrics that insights are about."""
RELATED: Final = ("total_events", "requests", "errors", "error_ratio", *LATENCIES, *FULL, "open_files")
"""The metrics that are correlated if nobody names others."""


class AdvancedAnalyticsEngine:
    """Finds, explains and predicts over one recording. Times are seconds since the epoch, in whole minutes."""

    def __init__(self, analytics: ChaosAnalytics, node: str = "") -> None:
        """`node` is where it was recorded; findings name it."""
        self.analytics = analytics
        self._watching = Watching(analytics, node)
        self._keepers: dict[tuple[str, int], Keeper] = {}
        self._usual = -1, math.nan  # the usual latency, and the minute in which that was found
        self._open: list[Insight] = []
        self._settled: deque[Insight] = deque(maxlen=INSIGHTS)
        self.failures: dict[str, str] = {}
        """Why the last forecast of a metric could not be made, by metric."""

    def know_faults(self, faults: Iterable[KnownFault]) -> None:
        """These faults are, or were, on: what they explain is expected."""
        self._watching.know(faults)

    # ---- anomalies

    def advance(self) -> list[Anomaly]:
        """Look at the minutes that are over since the last time; the anomalies that changed."""
        return self._watching.advance()

    def get_anomalies(self, since: float) -> list[Anomaly]:
        """The anomalies that were open at `since` or later: unexpected ones first, then the worst first."""
        self.advance()
        return self._watching.incidents.since(since)

    # ---- trends and forecasts

    def analyze_trend(self, metric: str, start: float, end: float) -> Trend:
        """Where a metric went from `start` to `end`; see `find_trend`. Raises NotFound (with the known metrics) and
        UsageError for a range that ends before it begins."""
        return find_trend(self.analytics.series(metric, start, end, _step(start, end)), metric)

    def forecast(self, metric: str, horizon: int = HORIZON) -> Forecast:
        """The next `horizon` minutes of a metric, by a model that is kept and goes on with what is recorded. Raises
        NotFound, and UsageError for too few readings or a horizon that makes no sense.
        """
        keeper = self._keeper(metric, horizon)
        told = keeper.update(self._past(metric))
        assert keeper.model is not None
        return finding(metric, keeper.model, told)

    def generate_insights(self) -> list[Insight]:
        """What is to be expected of the most telling metrics half an hour from now, the most urgent first.

        Metrics of which too little was recorded are left out; `failures` says so. Each insight is remembered, and once
        its time has come `insights` says how right it was.
        """
        self._settle()
        made = []
        for metric in FORETOLD:
            try:
                keeper = self._keeper(metric, HORIZON)
                told = keeper.update(self._past(metric))
            except UsageError as error:
                self.failures[metric] = error.message
                continue
            self.failures.pop(metric, None)
            made.append(insight(metric, told, limit=FULL.get(metric)))
        self._open = [*self._open, *made][-INSIGHTS:]
        return sorted(made, key=lambda one: -(one.crossing_probability or 0.0))

    def insights(self) -> list[Insight]:
        """All insights that are remembered, the newest first; those that have come due say how right they were."""
        self._settle()
        return sorted([*self._open, *self._settled], key=lambda one: (-one.made_at, one.metric))

    # ---- relations

    def correlations(
        self, start: float, end: float, metrics: Sequence[str] = (), max_lag: int = 10
    ) -> list[Correlation]:
        """Which metrics moved together from `start` to `end`, at lags of up to `max_lag` minutes."""
        chosen = metrics or RELATED
        rows = {metric: self.analytics.series(metric, start, end, MINUTE) for metric in chosen if self._has(metric)}
        return list(correlations({name: row for name, row in rows.items() if len(row)}, max_lag)) if rows else []

    def impact(self, start: float, end: float, metrics: Sequence[str] = ("latency_p95", "error_ratio")) -> list[Impact]:
        """What a task that had its faults on from `start` to `end` did to these metrics, against as long a time before
        and after (at least ten minutes), in steps of ten seconds. Metrics without readings are left out."""
        around = max(600.0, end - start)
        found = []
        for metric in metrics:
            series = self.analytics.series(metric, start - around, end + around, 10)
            try:
                found.append(impact_by_time(metric, "ms" if metric in LATENCIES else "", series, start, end))
            except UsageError as error:
                self.failures[metric] = error.message
        return found

    # ---- health

    def calculate_health_score(self) -> HealthScore | None:
        """The health of what was recorded in the last five minutes; see `raftchaos.core.health`. None if nothing was.

        A recording tells errors, latency, saturation and anomalies; how reachable a target is, and whether faults could
        be taken back, the peer knows.
        """
        present = self.analytics.present
        measured = {
            "errors": self._mean("error_ratio", present - RECENT, present),
            "latency": self._slower(present),
            "saturation": max(
                (self._mean(name, present - RECENT, present) / full for name, full in FULL.items()), key=_known
            ),
        }
        told = {name: value for name, value in measured.items() if not math.isnan(value)}
        if told:
            told["anomalies"] = self.worst(expected=False)
        return score(self._watching.node or "recording", told)

    def worst(self, *, expected: bool = True) -> float:
        """Severity of the worst open anomaly, 0 to 1; without `expected` of those that no fault explains."""
        found = [one for one in self.get_anomalies(self.analytics.present) if one.closed_at is None]
        return max((one.severity for one in found if expected or not one.expected), default=0.0)

    # ---- inside

    def _keeper(self, metric: str, horizon: int) -> Keeper:
        """The model of a metric that is kept for this horizon; the one that was used longest ago makes room."""
        key = (metric, horizon)
        keeper = self._keepers.pop(key, None) or Keeper(horizon)
        self._keepers[key] = keeper
        while len(self._keepers) > KEPT:
            del self._keepers[next(iter(self._keepers))]
        return keeper

    def _has(self, metric: str) -> bool:
        return metric in self.analytics.metrics()

    def _past(self, metric: str) -> Series:
        """The minutes of the last two days that are over. Raises UsageError if there are too few."""
        end = math.floor(self.analytics.present / MINUTE) * MINUTE
        start = max(math.floor(self.analytics.began / MINUTE) * MINUTE, end - 2 * DAY)
        series = self.analytics.series(metric, start, max(start, end), MINUTE)
        known = int(np.isfinite(series.values).sum())
        if known < LEAST_FORECAST:
            raise UsageError(f"found {known} minutes of {metric}, expected {LEAST_FORECAST} or more to predict from")
        return series

    def _settle(self) -> None:
        """Insights whose time has come are compared with what came."""
        present, left = self.analytics.present, []
        for made in self._open:
            if made.due_at + MINUTE > present:
                left.append(made)
                continue
            values = self.analytics.series(made.metric, made.due_at, made.due_at + MINUTE, MINUTE).values
            if len(values) and math.isfinite(values[0]):
                self._settled.append(settled(made, float(values[0])))
        self._open = left

    def _mean(self, metric: str, start: float, end: float) -> float:
        values = (
            self.analytics.series(metric, max(0.0, start), end, MINUTE).values if self._has(metric) else np.zeros(0)
        )
        known = values[np.isfinite(values)]
        return float(known.mean()) if len(known) else math.nan

    def _slower(self, present: float) -> float:
        """The 95th percentile of latency of the last minutes as a multiple of the usual one, its median of a day."""
        now = self._mean("latency_p95", present - RECENT, present)
        minute = math.floor(present / MINUTE)
        if self._usual[0] != minute:
            start = max(self.analytics.began, present - RECENT - DAY)
            before = self.analytics.series("latency_p95", start, max(start, present - RECENT), 5 * MINUTE).values
            known = before[np.isfinite(before)]
            self._usual = minute, float(np.median(known)) if len(known) else math.nan
        return now / self._usual[1] if self._usual[1] > 0 else math.nan


def _step(start: float, end: float) -> int:
    """The finest resolution that is kept as long as the range."""
    length = end - start
    return 1 if length <= 3_600 else MINUTE if length <= 2 * DAY else 300 if length <= 7 * DAY else 3_600


def _known(value: float) -> float:
    return -math.inf if math.isnan(value) else value

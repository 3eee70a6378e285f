"""Looks at every minute that is over, once, and turns what is unusual in it into incidents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np

from raftchaos.analytics.anomalies.cascade import CascadeWatch
from raftchaos.analytics.anomalies.counts import CountWatch
from raftchaos.analytics.anomalies.errors import ErrorWatch
from raftchaos.analytics.anomalies.exhaustion import ExhaustionWatch
from raftchaos.analytics.anomalies.incidents import Incidents, KnownFault
from raftchaos.analytics.anomalies.latency import LatencyWatch
from raftchaos.analytics.anomalies.signal import Signal
from raftchaos.analytics.recording.analytics import ChaosAnalytics
from raftchaos.analytics.series import Floats
from raftchaos.model.findings.anomaly import Anomaly

MINUTE: Final = 60
CASCADE_STEP: Final = 10
HOUR: Final = 3600
GRACE: Final = 3.0  # seconds that cells may come late
LONGEST: Final = 2 * 86_400  # so long minutes are kept: what lies further back is not looked at any more
REQUESTS: Final = "events.request"
FULL: Final = {"cpu_percent": 100.0, "memory_percent": 100.0, "disk_percent": 100.0}
"""The resources that can be used up, and their limits."""


class Watching:
    """The anomalies of one recording, online: no minute is looked at twice, none waits for a later one.

    Watched are all events and those of each type (spikes, quiet), the 95th percentile of latency and the share of
    errors of all requests and of each of the busiest endpoints, the resources of the machine, and how errors spread
    from endpoint to endpoint.
    """

    def __init__(self, analytics: ChaosAnalytics, node: str = "") -> None:
        self._analytics = analytics
        self.node = node
        self._until: dict[int, float] = {}
        self._counts: dict[str, CountWatch] = {}
        self._latencies: dict[str, LatencyWatch] = {}
        self._errors: dict[str, ErrorWatch] = {}
        self._resources = {metric: ExhaustionWatch(metric, limit) for metric, limit in FULL.items()}
        self._cascade = CascadeWatch("error_ratio", CASCADE_STEP)
        self._faults: dict[str, KnownFault] = {}
        self.incidents = Incidents()

    def know(self, faults: Iterable[KnownFault]) -> None:
        """These faults are, or were, on; one that is known already is replaced. Those of days ago are forgotten."""
        self._faults.update({fault.id: fault for fault in faults})
        oldest = self._analytics.present - LONGEST
        ended = [name for name, fault in self._faults.items() if fault.end is not None and fault.end < oldest]
        for name in ended:
            del self._faults[name]

    def advance(self) -> list[Anomaly]:
        """Look at what is over by now; the incidents that changed, each as it is now."""
        changed = {found.id: found for found in self._minutes()}
        changed.update({found.id: found for found in self._spread()})
        return list(changed.values())

    # ---- inside

    def _due(self, step: int) -> tuple[float, float]:
        """The steps that are over and were not looked at: the start of the first, the end of the last."""
        present = self._analytics.present
        end = math.floor((present - GRACE) / step) * step
        start = self._until.get(step, math.floor(self._analytics.began / step) * step)
        start = max(start, end - LONGEST if step == MINUTE else end - 3600)
        self._until[step] = max(start, end)
        return start, end

    def _minutes(self) -> Iterable[Anomaly]:
        start, end = self._due(MINUTE)
        while start < end:  # an hour after the other: that many minutes of histograms are held unpacked
            yield from self._hour(start, min(end, start + HOUR))
            start += HOUR

    def _hour(self, start: float, end: float) -> Iterable[Anomaly]:
        look = self._looks()
        rows = {metric: self._analytics.series(metric, start, end, MINUTE).values for metric in look}
        wanted = self._ratios(start, end)
        for place in range(round((end - start) / MINUTE)):
            time = start + place * MINUTE
            for metric, (update, service) in look.items():
                yield from self._tell(update(time, float(rows[metric][place])), service)
            for endpoint, (failed, asked) in wanted.items():
                watch = self._errors.setdefault(endpoint, ErrorWatch(_of("error_ratio", endpoint)))
                yield from self._tell(watch.update(time, float(failed[place]), float(asked[place])), endpoint)
            yield from self.incidents.advance(time)

    def _looks(self) -> Mapping[str, tuple[Callable[[float, float], Signal | None], str]]:
        """The metrics that one number a minute tells, each with its watch and its service."""
        types = [metric for metric in self._analytics.metrics() if metric.startswith("events.")]
        found: dict[str, tuple[Callable[[float, float], Signal | None], str]] = {}
        for metric in ["total_events", *types]:
            found[metric] = (self._counts.setdefault(metric, CountWatch(metric)).update, "")
        for endpoint in ["", *self._analytics.busiest()]:
            metric = _of("latency_p95", endpoint)
            found[metric] = (self._latencies.setdefault(metric, LatencyWatch(metric)).update, endpoint)
        for metric, watch in self._resources.items():
            found[metric] = (watch.update, "")
        self._latencies = {metric: watch for metric, watch in self._latencies.items() if metric in found}
        return found

    def _ratios(self, start: float, end: float, step: int = MINUTE) -> dict[str, tuple[Floats, Floats]]:
        """Failed and all requests of all ("") and of each of the busiest endpoints."""
        found = {}
        for endpoint in ["", *self._analytics.busiest()] if REQUESTS in self._analytics.metrics() else []:
            asked = self._analytics.series(_of("requests", endpoint), start, end, step).values
            share = self._analytics.series(_of("error_ratio", endpoint), start, end, step).values
            found[endpoint] = (np.nan_to_num(share * asked), np.nan_to_num(asked))
        return found

    def _spread(self) -> Iterable[Anomaly]:
        """How errors go from endpoint to endpoint, in steps of ten seconds."""
        start, end = self._due(CASCADE_STEP)
        if start >= end:
            return
        ratios = {name: pair for name, pair in self._ratios(start, end, CASCADE_STEP).items() if name}
        for place in range(round((end - start) / CASCADE_STEP)):
            time = start + place * CASCADE_STEP
            badness = {
                endpoint: float(failed[place] / asked[place])
                for endpoint, (failed, asked) in ratios.items()
                if asked[place] > 0
            }
            yield from self._tell(self._cascade.update(time, badness), "")

    def _tell(self, signal: Signal | None, service: str) -> Iterable[Anomaly]:
        if signal is not None:
            yield from self.incidents.observe(signal, self._faults.values(), node=self.node, service=service)


def _of(metric: str, endpoint: str) -> str:
    return f'{metric}{{endpoint="{endpoint}"}}' if endpoint else metric

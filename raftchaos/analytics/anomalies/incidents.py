"""From signals to incidents: one finding from its opening to its close, and whether faults that were on explain it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from raftchaos.analytics.anomalies.signal import Signal
from raftchaos.model.findings.anomaly import Anomaly, AnomalyType

HOLD: Final = 300.0  # seconds without a signal after which an incident is over
AFTERMATH: Final = 120.0  # seconds after its end in which a fault still explains what is seen
OPEN: Final = 1_000  # incidents; one more closes the one that has been silent longest
CLOSED: Final = 1_000  # incidents that are remembered

ACTIONS: Final[dict[AnomalyType, tuple[str, ...]]] = {
    AnomalyType.EVENT_SPIKE: (
        "look which event, endpoint or client has grown",
        "look for retries: they follow errors and timeouts",
    ),
    AnomalyType.UNEXPECTED_QUIET: (
        "check that what sends the events runs and reaches its target",
        "look for a deployment or a change of routes at that time",
    ),
    AnomalyType.LATENCY: (
        "compare with the saturation of processor, disk and connections on the same node",
        "look whether the services behind it have become slow first",
    ),
    AnomalyType.HIGH_ERROR_RATE: (
        "look which status and endpoint fail",
        "roll back what was deployed last, if it began then",
    ),
    AnomalyType.RESOURCE_EXHAUSTION: (
        "free or add some of the resource before the time that is left",
        "look which process takes it: `raftchaos node show` names the node",
    ),
    AnomalyType.CASCADING_FAILURE: (
        "begin with the first service of the path",
        "shed load or open circuit breakers between it and the second",
    ),
}


@dataclass(frozen=True, slots=True)
class KnownFault:
    """A fault that somebody injected: when it was on (`end` is None while it is), and on which nodes and services.

    No nodes means all of them, and so do no services.
    """

    id: str
    start: float
    end: float | None = None
    nodes: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()

    def explains(self, time: float, nodes: Iterable[str], services: Iterable[str]) -> bool:
        """Whether something that is seen at `time` there may come from the fault: it is on, or was until just now, and
        touches one of the nodes and one of the services. What is seen nowhere in particular is seen everywhere."""
        if not self.start <= time <= (time if self.end is None else self.end + AFTERMATH):
            return False
        seen_nodes, seen_services = set(nodes), set(services)
        return (not self.nodes or not seen_nodes or bool(self.nodes & seen_nodes)) and (
            not self.services or not seen_services or bool(self.services & seen_services)
        )


class Incidents:
    """The incidents of a peer. Every method returns the findings that it changed.

    An incident is *expected* as long as every signal of it has a fault that explains it; one that begins before its
    fault, or goes on after it, is not.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, ...], Anomaly] = OrderedDict()
        self._closed: OrderedDict[str, Anomaly] = OrderedDict()

    def observe(
        self, signal: Signal, faults: Iterable[KnownFault] = (), *, node: str = "", service: str = ""
    ) -> list[Anomaly]:
        """Open an incident, or update the one of the same type, metric, node and service."""
        changed = self.advance(signal.time)
        key = (signal.type, signal.metric, node, service)
        before = self._open.pop(key, None)
        services = signal.affected if signal.type is AnomalyType.CASCADING_FAILURE else (service,) if service else ()
        nodes = (node,) if node else ()
        causes = tuple(sorted(one.id for one in faults if one.explains(signal.time, nodes, services)))
        if before is None:
            while len(self._open) >= OPEN:
                changed.append(self._close(next(iter(self._open))))
            after = _opened(signal, causes, node, service)
        else:
            after = _updated(before, signal, causes)
        self._open[key] = after
        return [*changed, after]

    def advance(self, now: float) -> list[Anomaly]:
        """Close what has been silent for five minutes at `now`; it ended with its last signal."""
        silent = [key for key, one in self._open.items() if now - one.updated_at > HOLD]
        return [self._close(key) for key in silent]

    def since(self, time: float) -> list[Anomaly]:
        """The incidents that were open at `time` or later, unexpected ones first, then the worst first."""
        found = [one for one in self._closed.values() if one.closed_at is not None and one.closed_at >= time]
        return sorted([*self._open.values(), *found], key=lambda one: (one.expected, -one.severity, one.opened_at))

    def _close(self, key: tuple[str, ...]) -> Anomaly:
        ended = self._open.pop(key)
        ended = ended.model_copy(update={"closed_at": ended.updated_at})
        self._closed[ended.id] = ended
        while len(self._closed) > CLOSED:
            self._closed.popitem(last=False)
        return ended


def _opened(signal: Signal, causes: tuple[str, ...], node: str, service: str) -> Anomaly:
    began = signal.time if signal.since is None else min(signal.since, signal.time)
    name = "\0".join((signal.type, signal.metric, node, service, repr(signal.time)))
    return Anomaly(
        id=hashlib.sha256(name.encode()).hexdigest()[:16],
        type=signal.type,
        metric=signal.metric,
        node=node,
        service=service,
        opened_at=began,
        updated_at=signal.time,
        severity=signal.severity,
        expected=bool(causes),
        explained_by=causes,
        affected=signal.affected or (signal.metric,),
        evidence=dict(signal.evidence),
        actions=ACTIONS[signal.type],
    )


def _updated(before: Anomaly, signal: Signal, causes: tuple[str, ...]) -> Anomaly:
    worse = signal.severity >= before.severity
    return before.model_copy(
        update={
            "updated_at": max(before.updated_at, signal.time),
            "severity": max(before.severity, signal.severity),
            "expected": before.expected and bool(causes),
            "explained_by": tuple(sorted({*before.explained_by, *causes})),
            "affected": tuple(dict.fromkeys((*before.affected, *signal.affected))),
            "evidence": dict(signal.evidence) if worse else before.evidence,
        }
    )

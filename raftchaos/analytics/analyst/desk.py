"""What the analyst does with what main says: records it, looks at what is over, answers questions."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from raftchaos import limits
from raftchaos.analytics.anomalies.incidents import KnownFault
from raftchaos.analytics.engine import AdvancedAnalyticsEngine
from raftchaos.analytics.recording import storage
from raftchaos.clock import Clock
from raftchaos.core.cells import Cell
from raftchaos.errors import NotFound, RaftchaosError
from raftchaos.model.findings.anomaly import Anomaly
from raftchaos.model.findings.finding import Finding

log = logging.getLogger("raftchaos.analytics")

SAVED_EVERY: Final = 60.0
FORETOLD_EVERY: Final = 300.0
COUNTED: Final = 4_000
"""Incidents that are remembered as counted: more than are open or were closed and remembered."""
SEVERITIES: Final = ((2 / 3, "high"), (1 / 3, "medium"), (0.0, "low"))


class Desk:
    """The analyst of one peer. Everything is called by one thread."""

    def __init__(self, folder: Path, node: str, clock: Clock) -> None:
        """The recording of an earlier start is read from `folder`. Raises MachineUnusable."""
        self._folder, self._clock = folder, clock
        self._analytics = storage.load(folder, clock)
        self._engine = AdvancedAnalyticsEngine(self._analytics, node)
        self._node = node
        self._began = clock.wall()
        self._saved = self._foretold = clock.boot()
        self._counted: OrderedDict[str, None] = OrderedDict()
        self._anomalies: Counter[tuple[str, str, bool]] = Counter()
        self._predictions = 0
        self._answers: dict[str, Callable[..., Any]] = {
            "anomalies": self._engine.get_anomalies,
            "trend": self._engine.analyze_trend,
            "forecast": self._engine.forecast,
            "insights": self._engine.insights,
            "health": self._health,
            "correlations": self._engine.correlations,
            "impact": self._engine.impact,
            "metrics": self._analytics.metrics,
        }

    def take(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take what main says; the answer if it is a question. What makes no sense is logged, and changes nothing."""
        try:
            if "cell" in message:
                self._analytics.record_cell(Cell.decode(message["cell"]), self._node)
            elif "event" in message:
                self._analytics.record_event(**{"node": self._node, **message["event"]})
            elif "reading" in message:
                self._analytics.record_reading(self._clock.wall(), **message["reading"])
            elif "faults" in message:
                self._engine.know_faults(_fault(fields) for fields in message["faults"])
            elif "ask" in message:
                return self._answer(message)
        except (RaftchaosError, TypeError, KeyError, ValueError) as error:
            log.warning("the analyst was told what makes no sense: %s", error)
        return None

    def look(self) -> dict[str, Any]:
        """Look at what is over, predict, and save when that is due; what main shows without asking."""
        changed = self._engine.advance()
        now = self._clock.boot()
        if now - self._foretold >= FORETOLD_EVERY:
            self._foretold = now
            self._predictions += len(self._engine.generate_insights())
        if now - self._saved >= SAVED_EVERY:
            self.save()
        self._count(changed)
        return {
            "anomalies": [[*key, count] for key, count in sorted(self._anomalies.items())],
            "worst": self._engine.worst(),
            "health": self._health(),
            "predictions": self._predictions,
            "errors": [one.error_ratio for one in self._engine.insights() if one.error_ratio is not None][:20],
            "failures": dict(self._engine.failures),
            "dropped": dict(self._analytics.dropped),
        }

    def save(self) -> None:
        """Write the recording; a disk that is full is logged, and tried again."""
        self._saved = self._clock.boot()
        try:
            storage.save(self._analytics, self._folder)
        except RaftchaosError as error:
            log.error("the recording is not saved: %s", error)

    # ---- inside

    def _answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        number, what = message["ask"], message["what"]
        try:
            if what not in self._answers:
                raise NotFound(f"found the question {what!r:.40}, expected one of {', '.join(self._answers)}")
            return {"answer": number, "found": _plain(self._answers[what](**message["with"]))}
        except RaftchaosError as error:
            return {"answer": number, "error": error.spec.code, "message": error.message}
        except Exception as error:  # a defect in one sum must not end the recording of everything else
            log.exception("the question %r could not be answered", what)
            return {"answer": number, "error": "internal", "message": f"{what} failed: {error!r}"}

    def _health(self) -> Any:
        found = self._engine.calculate_health_score()
        return None if found is None else asdict(found)

    def _count(self, changed: list[Anomaly]) -> None:
        """Each incident once, as it was when it was first seen; those of before this start were counted then."""
        for one in changed:
            if one.id in self._counted or one.opened_at < self._began - limits.EVENT_AHEAD:
                continue
            self._counted[one.id] = None
            if len(self._counted) > COUNTED:
                self._counted.popitem(last=False)
            severity = next(name for least, name in SEVERITIES if one.severity >= least)
            self._anomalies[(str(one.type), severity, one.expected)] += 1


def _fault(fields: Mapping[str, Any]) -> KnownFault:
    end = fields.get("end")
    return KnownFault(
        id=str(fields["id"]),
        start=float(fields["start"]),
        end=None if end is None else float(end),
        nodes=frozenset(map(str, fields.get("nodes", ()))),
        services=frozenset(map(str, fields.get("services", ()))),
    )


def _plain(found: Any) -> Any:
    """As msgpack takes it."""
    if isinstance(found, Finding):
        return found.model_dump(mode="json", by_alias=True)
    if isinstance(found, list | tuple):
        return [_plain(one) for one in found]
    return found

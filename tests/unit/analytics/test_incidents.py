"""Incidents: one finding from its opening to its close, expected where faults explain all of it."""

from __future__ import annotations

import pytest

from raftchaos.analytics.anomalies import incidents as module
from raftchaos.analytics.anomalies.incidents import ACTIONS, AFTERMATH, HOLD, Incidents, KnownFault
from raftchaos.analytics.anomalies.signal import Signal, excess
from raftchaos.model.findings.anomaly import Anomaly, AnomalyType


def signal(time: float, severity: float = 0.5, *, metric: str = "events", since: float | None = None) -> Signal:
    return Signal(AnomalyType.EVENT_SPIKE, metric, time, severity, {"count": severity * 100}, since=since)


def test_an_incident_is_opened_updated_and_closed_once() -> None:
    incidents = Incidents()
    opened = incidents.observe(signal(100, 0.5, since=40), node="n1", service="web")[0]
    assert (opened.opened_at, opened.updated_at, opened.closed_at) == (40, 100, None)
    assert (opened.node, opened.service, opened.affected) == ("n1", "web", ("events",))
    assert opened.actions == ACTIONS[AnomalyType.EVENT_SPIKE]
    updated = incidents.observe(signal(160, 0.8), node="n1", service="web")[0]
    worse = incidents.observe(signal(220, 0.3), node="n1", service="web")[0]
    assert opened.id == updated.id == worse.id
    assert (worse.severity, worse.evidence, worse.updated_at) == (0.8, {"count": 80}, 220)
    assert incidents.advance(220 + HOLD) == []
    (closed,) = incidents.advance(221 + HOLD)
    assert (closed.id, closed.closed_at) == (opened.id, 220)
    assert incidents.advance(1e9) == []
    assert incidents.since(220) == [closed]
    assert incidents.since(221) == []


def test_other_metrics_nodes_and_services_have_incidents_of_their_own() -> None:
    incidents = Incidents()
    places = [("events", "a", ""), ("events", "b", ""), ("errors", "a", ""), ("events", "a", "web")]
    for metric, node, service in places:
        incidents.observe(signal(0, metric=metric), node=node, service=service)
    assert len({one.id for one in incidents.since(0)}) == 4


def test_a_signal_after_the_close_opens_another() -> None:
    incidents = Incidents()
    first = incidents.observe(signal(0))[0]
    closed, second = incidents.observe(signal(HOLD + 1))
    assert closed.id == first.id
    assert closed.closed_at == 0
    assert second.id != first.id


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (KnownFault("f", 0, 200), True),
        (KnownFault("f", 50, None), True),
        (KnownFault("f", 0, 100 - AFTERMATH), True),
        (KnownFault("f", 0, 99 - AFTERMATH), False),
        (KnownFault("f", 101, 200), False),
        (KnownFault("f", 0, 200, nodes=frozenset({"n1"})), True),
        (KnownFault("f", 0, 200, nodes=frozenset({"n2"})), False),
        (KnownFault("f", 0, 200, services=frozenset({"web"})), True),
        (KnownFault("f", 0, 200, services=frozenset({"db"})), False),
    ],
)
def test_a_fault_that_is_on_there_explains_it(fault: KnownFault, expected: bool) -> None:
    found = Incidents().observe(signal(100), [fault], node="n1", service="web")[0]
    assert found.expected is expected
    assert found.explained_by == (("f",) if expected else ())


def test_what_outlasts_its_fault_is_unexpected_and_comes_first() -> None:
    incidents, fault = Incidents(), KnownFault("f", 0, 100)
    assert incidents.observe(signal(60), [fault])[0].expected
    incidents.observe(signal(60, 0.9, metric="other"), [fault])
    later = incidents.observe(signal(101 + AFTERMATH), [fault])[0]
    assert not later.expected
    assert later.explained_by == ("f",)
    assert [one.metric for one in incidents.since(0)] == ["events", "other"]


def test_a_cascade_is_explained_by_a_fault_of_any_service_on_its_path() -> None:
    found = Signal(AnomalyType.CASCADING_FAILURE, "errors", 10, 0.6, {}, affected=("db", "api", "web"))
    fault = KnownFault("f", 0, None, services=frozenset({"db"}))
    assert Incidents().observe(found, [fault])[0].expected


def test_the_number_of_incidents_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN", 3)
    monkeypatch.setattr(module, "CLOSED", 2)
    incidents = Incidents()
    for number in range(9):
        incidents.observe(signal(number, metric=f"m{number}"))
    assert sorted(one.metric for one in incidents.since(0)) == ["m4", "m5", "m6", "m7", "m8"]


def test_a_finding_is_camel_case_and_comes_back() -> None:
    found = Incidents().observe(signal(100))[0]
    data = found.model_dump(mode="json", by_alias=True)
    assert data["openedAt"] == 100
    assert data["closedAt"] is None
    assert data["explainedBy"] == []
    assert Anomaly.model_validate(data) == found


def test_severity_is_the_part_of_the_usual_that_is_lost() -> None:
    assert [excess(ratio) for ratio in (0.0, 1.0, 2.0, 4.0)] == [0.0, 0.0, 0.5, 0.75]

"""What a node decides to do for its runs: one table, and properties that hold for every view."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftchaos import limits
from raftchaos.agent.reconcile import (
    Ask,
    Forget,
    Recover,
    ReportActive,
    ReportFinished,
    Start,
    View,
    offer_delay,
    reconcile,
)
from raftchaos.agent.records import OVER, LocalRun, Phase
from raftchaos.core.reasons import MAY_HAVE_HAPPENED
from raftchaos.core.state import ClusterState, HaltRecord
from raftchaos.model.nodes import Node, NodeStatus
from raftchaos.model.resolved import (
    CoordinationMode,
    ResolvedFault,
    ResolvedOrchestration,
    ResolvedStep,
    SafetyLimits,
    TargetRule,
)
from raftchaos.model.runs import ANY_NODE, Run, RunId, RunStatus
from raftchaos.model.tasks import Task, TaskStatus

RUN = RunId("t", 1, 0, "a", 1)
OFFER = RunId("t", 1, 0, ANY_NODE, 1)
NODE = Node("a", 7, "dir", "h:1", "h:2", proxies=("web",), capabilities=("latency",))
EFFECT = ({"touched": 3},)
STEP = ResolvedStep("slow", "latency", (ResolvedFault("latency", {}),), 30.0)
TASK = Task(
    id="t",
    orchestration=ResolvedOrchestration(
        "t", CoordinationMode.PARALLEL, TargetRule(), (STEP, STEP), SafetyLimits(), 900.0, 1
    ),
    targets=("a", "b"),
    max_nodes=2,
    submitted_ms=0,
    deadline_ms=0,
    status=TaskStatus.RUNNING,
)


def run(status: RunStatus, **fields: Any) -> Run:
    values = {"node": "a", "incarnation": 7, "targets": ("proxy:web",), "duration_seconds": 30.0, **fields}
    return Run(values.pop("id", RUN), status, **values)


def local(phase: Phase, **fields: Any) -> LocalRun:
    return LocalRun(RUN, ("proxy:web",), frozenset({"latency"}), 30.0, fields.pop("lease", 1), phase, **fields)


def view(*runs: Run, here: LocalRun | None = None, **fields: Any) -> View:
    state = ClusterState(nodes={"a": NODE}, tasks={"t": TASK}, runs={item.id: item for item in runs})
    values: dict[str, Any] = {
        "node": "a",
        "incarnation": 7,
        "directory": "dir",
        "state": state,
        "now": 100.0,
        "lease_epoch": 1,
        "lease_left": 2.5,
        "replayed": True,
        "clean": True,
        "ready": True,
        "local": {} if here is None else {here.id: here},
        **fields,
    }
    return View(**values)


def halted(seen: View) -> View:
    record = HaltRecord("h", "because", "b", 0)
    return replace(seen, state=seen.state.with_(halts={"h": record}))


PLANNED = run(RunStatus.PLANNED, incarnation=0)
GRANTED = run(RunStatus.GRANTED)
ACTIVE = run(RunStatus.ACTIVE)
CANCELLED = run(RunStatus.RECOVERING, reason="cancelled")
LOST = run(RunStatus.INTERRUPTED, reason="nodeFailed")
ON = local(Phase.ON, started=90.0)
OFF = local(Phase.OFF, status=RunStatus.SUCCEEDED, effects=EFFECT)
INTERRUPTED = RunStatus.INTERRUPTED
DONE = ReportFinished(RUN, RunStatus.SUCCEEDED, "", EFFECT)

TABLE: list[tuple[str, View, list[object]]] = [
    ("a planned run is asked for", view(PLANNED), [Ask(RUN)]),
    ("not without a lease", view(PLANNED, lease_left=0.0), []),
    ("not with a lease that is about to end", view(PLANNED, lease_left=0.4), []),
    ("not while halted", halted(view(PLANNED)), []),
    ("not while this node obeys a halt of its own", view(PLANNED, halted=True), []),
    ("not while stopping", view(PLANNED, stopping=True), []),
    ("not before the executor is ready", view(PLANNED, ready=False), []),
    ("not before what an earlier start left is undone", view(PLANNED, clean=False), []),
    ("not while the log is replayed", view(PLANNED, replayed=False), []),
    ("not that of another node", view(run(RunStatus.PLANNED, node="b", id=RUN._replace(node="b"))), []),
    ("a granted run is injected", view(GRANTED), [Start(RUN)]),
    ("in the lease under which the grant was seen", view(GRANTED, grants={RUN: 1}), [Start(RUN)]),
    (
        "not in a later one: the grant is over",
        view(GRANTED, grants={RUN: 1}, lease_epoch=2),
        [ReportFinished(RUN, INTERRUPTED, "leaseEnded")],
    ),
    (
        "nor without one",
        view(GRANTED, grants={RUN: 1}, lease_left=0.0),
        [ReportFinished(RUN, INTERRUPTED, "leaseEnded")],
    ),
    ("over stays over", view(GRANTED, grants={RUN: OVER}), [ReportFinished(RUN, INTERRUPTED, "leaseEnded")]),
    ("a grant of an earlier start is never injected", view(run(RunStatus.GRANTED, incarnation=6)),
     [ReportFinished(RUN, INTERRUPTED, "peerRestarted")]),
    ("it is told once the reaper has undone it", view(run(RunStatus.ACTIVE, incarnation=6), clean=False), []),
    ("with what it did", view(run(RunStatus.ACTIVE, incarnation=6), undone={str(RUN): EFFECT}),
     [ReportFinished(RUN, INTERRUPTED, "peerRestarted", EFFECT)]),
    ("a one-shot run that an earlier start has done is told as done",
     view(run(RunStatus.GRANTED, incarnation=6), undone={str(RUN): EFFECT}, happened={str(RUN): True}),
     [ReportFinished(RUN, RunStatus.DONE, "", EFFECT)]),
    ("one that it may have done has failed, so that it is not attempted again",
     view(CANCELLED, undone={str(RUN): ()}, happened={str(RUN): False}),
     [ReportFinished(RUN, RunStatus.FAILED, MAY_HAVE_HAPPENED)]),
    ("what cannot be switched on again has failed", view(ACTIVE, here=ON, troubles={str(RUN): "no"}),
     [Recover(RUN, RunStatus.FAILED, "no")]),
    ("a grant waits for the executor", view(GRANTED, ready=False), []),
    ("and for a lease with some time left", view(GRANTED, lease_left=0.4), []),
    ("while halted it is over", halted(view(GRANTED)), [ReportFinished(RUN, INTERRUPTED, "halted")]),
    ("cancelled before it began", view(CANCELLED), [ReportFinished(RUN, INTERRUPTED, "cancelled")]),
    ("what the journal knows is not injected again", view(GRANTED, undone={str(RUN): EFFECT}),
     [ReportFinished(RUN, INTERRUPTED, "leaseEnded", EFFECT)]),
    ("nor what is open in it", view(GRANTED, unfinished=frozenset({str(RUN)})), []),
    ("a registration of another directory has nothing to say here",
     replace(view(GRANTED), directory="other"), []),
    ("what is on is told", view(GRANTED, here=ON), [ReportActive(RUN)]),
    ("once", view(ACTIVE, here=ON), []),
    ("its time is over", view(ACTIVE, here=ON, now=120.0), [Recover(RUN, RunStatus.SUCCEEDED)]),
    ("also when its start was never told", view(GRANTED, here=ON, now=120.0), [Recover(RUN, RunStatus.SUCCEEDED)]),
    ("cancelled", view(CANCELLED, here=ON), [Recover(RUN, INTERRUPTED, "cancelled")]),
    ("the lease has ended", view(ACTIVE, here=ON, lease_left=0.0), [Recover(RUN, INTERRUPTED, "leaseEnded")]),
    ("and a new one has begun", view(ACTIVE, here=ON, lease_epoch=2), [Recover(RUN, INTERRUPTED, "leaseEnded")]),
    ("also while the log is replayed", view(ACTIVE, here=ON, lease_left=0.0, replayed=False),
     [Recover(RUN, INTERRUPTED, "leaseEnded")]),
    ("halted by the cluster", halted(view(ACTIVE, here=ON)), [Recover(RUN, INTERRUPTED, "halted")]),
    ("halted here", view(ACTIVE, here=ON, halted=True), [Recover(RUN, INTERRUPTED, "halted")]),
    ("stopping", view(ACTIVE, here=ON, stopping=True), [Recover(RUN, INTERRUPTED, "peerRestarted")]),
    ("the cluster gave it up", view(LOST, here=ON), [Recover(RUN, INTERRUPTED, "nodeFailed")]),
    ("its task is gone", view(here=ON), [Recover(RUN, INTERRUPTED, "nodeFailed")]),
    ("the reaper has undone it", view(ACTIVE, here=ON, undone={str(RUN): EFFECT}),
     [Recover(RUN, INTERRUPTED, "leaseEnded")]),
    ("an injection under way is let be", view(CANCELLED, here=local(Phase.STARTING)), []),
    ("a recovery under way is let be", view(CANCELLED, here=local(Phase.RECOVERING)), []),
    ("one that does not work is told", view(ACTIVE, here=local(Phase.RECOVERING, stuck=True, problem="no")),
     [ReportFinished(RUN, RunStatus.RECOVERY_FAILED, "no")]),
    ("the end is told", view(ACTIVE, here=OFF), [DONE]),
    ("for its effect also after the cluster ended it", view(LOST, here=OFF), [DONE]),
    ("once", view(LOST, here=replace(OFF, told=True)), [Forget(RUN)]),
    ("and forgotten when it is known", view(replace(LOST, effects=EFFECT), here=OFF), [Forget(RUN)]),
    ("or its task is gone", view(here=OFF), [Forget(RUN)]),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "wanted"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_decisions(seen: View, wanted: list[object]) -> None:
    assert list(reconcile(seen).actions) == wanted


def test_a_recovery_that_works_at_last_is_told() -> None:
    seen = view(here=OFF)
    seen = replace(seen, state=seen.state.with_(unrecovered={RUN: run(RunStatus.RECOVERY_FAILED)}))
    assert list(reconcile(seen).actions) == [DONE]


def test_nothing_is_injected_into_a_target_that_something_else_may_still_be_on() -> None:
    other = LocalRun(RUN._replace(task="older"), ("proxy:web",), frozenset({"latency"}), 1.0, 1, Phase.RECOVERING)
    assert list(reconcile(view(GRANTED, here=other)).actions) == []
    other.phase = Phase.STARTING
    assert list(reconcile(view(GRANTED, here=other)).actions) == []


def test_grants_of_a_lease_that_ended_between_two_looks_stay_over() -> None:
    first = reconcile(view(GRANTED, ready=False))
    assert first.grants == {RUN: 1}
    second = reconcile(view(GRANTED, ready=False, grants=first.grants, lease_epoch=3))
    assert second.grants == {RUN: OVER}
    third = reconcile(view(GRANTED, grants=second.grants, lease_epoch=3))
    assert Start(RUN) not in third.actions


def test_an_offer_is_asked_for_after_a_delay_of_its_own() -> None:
    offer = run(RunStatus.PLANNED, id=OFFER, node=ANY_NODE, incarnation=0)
    delay = offer_delay("a", OFFER)
    first = reconcile(view(offer))
    assert first.actions == ()
    assert reconcile(view(offer, now=100.0 + delay - 0.001, offered=first.offered)).actions == ()
    assert reconcile(view(offer, now=100.0 + delay, offered=first.offered)).actions == (Ask(OFFER),)


def test_delays_differ_between_nodes_and_stay_within_their_bound() -> None:
    delays = {offer_delay(f"node-{number}", OFFER) for number in range(200)}
    assert len(delays) == 200
    assert all(0 <= delay < limits.OFFER_DELAY for delay in delays)


@pytest.mark.parametrize(
    ("status", "asks"),
    [(RunStatus.ACTIVE, False), (RunStatus.SUCCEEDED, False), (RunStatus.INTERRUPTED, True), (RunStatus.FAILED, True)],
)
def test_a_node_takes_one_place_of_an_offered_step(status: RunStatus, asks: bool) -> None:
    offer = run(RunStatus.PLANNED, id=OFFER._replace(attempt=2), node=ANY_NODE, incarnation=0)
    mine = run(status, id=OFFER)
    types = frozenset({"latency"})
    here = LocalRun(OFFER, ("proxy:web",), types, 30.0, 1, Phase.ON, started=99.0) if mine.live else None
    seen = view(offer, mine, here=here, offered={offer.id: 0.0})
    assert (Ask(offer.id) in reconcile(seen).actions) is asks


@pytest.mark.parametrize("node", [replace(NODE, drained=True), replace(NODE, status=NodeStatus.FAILED), None])
def test_a_node_that_may_have_no_new_runs_asks_for_none(node: Node | None) -> None:
    seen = view(PLANNED)
    nodes = {} if node is None else {"a": node}
    assert reconcile(replace(seen, state=seen.state.with_(nodes=nodes))).actions == ()


@st.composite
def views(draw: st.DrawFn) -> View:
    status = draw(st.sampled_from(RunStatus))
    wanted = run(
        status,
        incarnation=draw(st.sampled_from([0, 6, 7])),
        node=draw(st.sampled_from(["a", "b"])),
        reason=draw(st.sampled_from(["", "paused"])),
    )
    here = local(
        draw(st.sampled_from(Phase)),
        lease=draw(st.integers(1, 2)),
        started=draw(st.sampled_from([60.0, 90.0])),
        stuck=draw(st.booleans()),
        status=RunStatus.SUCCEEDED,
    )
    seen = view(
        *([wanted] if draw(st.booleans()) else []),
        here=here if draw(st.booleans()) else None,
        lease_epoch=draw(st.integers(0, 2)),
        lease_left=draw(st.sampled_from([0.0, 0.3, 2.0])),
        replayed=draw(st.booleans()),
        clean=draw(st.booleans()),
        ready=draw(st.booleans()),
        halted=draw(st.booleans()),
        stopping=draw(st.booleans()),
        undone=draw(st.sampled_from([{}, {str(RUN): EFFECT}])),
        unfinished=draw(st.sampled_from([frozenset(), frozenset({str(RUN)})])),
        grants=draw(st.sampled_from([{}, {RUN: OVER}, {RUN: 1}, {RUN: 2}])),
    )
    return halted(seen) if draw(st.booleans()) else seen


@given(views())
def test_properties_of_every_decision(seen: View) -> None:
    decision = reconcile(seen)
    here = seen.local.get(RUN)
    touching = [action for action in decision.actions if isinstance(action, Start | Recover)]
    assert len(touching) <= 1
    if not seen.replayed:
        assert all(isinstance(action, Recover) for action in decision.actions)
    for action in touching:
        if isinstance(action, Start):
            wanted = seen.state.runs[RUN]
            assert (wanted.status, wanted.node, wanted.incarnation) == (RunStatus.GRANTED, "a", 7)
            assert seen.leased
            assert seen.clean
            assert seen.ready
            assert not seen.halted
            assert not seen.state.halted
            assert not seen.stopping
            assert here is None
            assert seen.grants.get(RUN, seen.lease_epoch) == seen.lease_epoch
            assert str(RUN) not in seen.undone
            assert str(RUN) not in seen.unfinished
    if here is not None and here.phase is Phase.ON and (not seen.leased or here.lease != seen.lease_epoch):
        assert any(isinstance(action, Recover) for action in touching)
    for action in decision.actions:
        if isinstance(action, ReportFinished) and here is None:
            assert seen.clean
            assert str(RUN) not in seen.unfinished
        if isinstance(action, Forget | ReportFinished) and here is not None:
            assert here.phase is Phase.OFF or here.stuck

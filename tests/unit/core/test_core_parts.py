"""Targeting, history, transitions, invariants, previews: each by itself."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftchaos import limits
from raftchaos.core import admission, capability, history, invariants, snapshot, targeting, transitions
from raftchaos.core import commands as c
from raftchaos.core.access import Access, ApiToken, JoinToken, NodeIdentity, TrustedAuthority
from raftchaos.core.planner import plan
from raftchaos.core.preview import preview
from raftchaos.core.progress import Progress, SlotState, slot_state, slots
from raftchaos.core.requests import RequestWindow
from raftchaos.core.state import ClusterState, HaltRecord
from raftchaos.core.timing import nobody_asks, seconds_since
from raftchaos.core.verdict import Conclusion, conclude, step_failure
from raftchaos.model.faults import FAULTS
from raftchaos.model.nodes import Node, NodeStatus
from raftchaos.model.resolved import ResolvedFault, SafetyLimits, TargetRule
from raftchaos.model.runs import LIVE, Run, RunId, RunStatus
from raftchaos.model.tasks import FINAL, Task, TaskStatus, Verdict
from tests.unit.core.core_world import START_MS, World, orchestration, step


def _nodes(*names: str, **labels: str) -> dict[str, Node]:
    return {name: Node(name, 1, "d", "a:1", "a:2", labels=labels) for name in names}


# ---- targeting


def test_a_smaller_part_is_within_a_larger_one_and_nodes_keep_their_place() -> None:
    names = [f"n{place:03}" for place in range(100)]
    chosen = {}
    for percent in (10, 30, 50, 100):
        document = orchestration(targets=TargetRule(percent=percent))
        chosen[percent] = set(targeting.choose(_nodes(*names), document).names)
        assert len(chosen[percent]) == percent
    assert chosen[10] < chosen[30] < chosen[50] < chosen[100]
    without = [name for name in names if name not in chosen[10]]
    assert targeting.by_hash(7, names)[:10] != targeting.by_hash(8, names)[:10]
    assert targeting.by_hash(7, without) == [name for name in targeting.by_hash(7, names) if name in without]


@pytest.mark.parametrize(("percent", "expected"), [(1, 1), (33, 1), (34, 2), (50, 2), (67, 3), (100, 3)])
def test_a_part_of_the_targets_is_rounded_up(percent: int, expected: int) -> None:
    document = orchestration(targets=TargetRule(percent=percent))
    assert len(targeting.choose(_nodes("a", "b", "c"), document).names) == expected


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (1, 1), (33, 1), (34, 1), (67, 2), (100, 3)])
def test_a_limit_is_rounded_down_and_at_least_one(percent: int, expected: int) -> None:
    assert targeting.max_nodes(SafetyLimits(max_percent=percent), 3) == expected


def test_the_smaller_limit_holds() -> None:
    assert targeting.max_nodes(SafetyLimits(), 3) == limits.NODES
    assert targeting.max_nodes(SafetyLimits(max_nodes=2, max_percent=100), 3) == 2
    assert targeting.max_nodes(SafetyLimits(max_nodes=3, max_percent=50), 4) == 2


def test_a_selector_needs_all_of_its_labels() -> None:
    nodes = {**_nodes("a", zone="eu", tier="web"), **_nodes("b", zone="eu")}
    rule = TargetRule(selector={"zone": "eu", "tier": "web"})
    assert targeting.choose(nodes, orchestration(targets=rule)).names == ("a",)
    every = TargetRule(selector={"zone": "eu"}, count=5)
    assert targeting.choose(nodes, orchestration(targets=every)).names == ("a", "b")


def test_takers_are_chosen_from_all_that_match() -> None:
    document = orchestration("peerToPeer", targets=TargetRule(count=2))
    assert targeting.choose(_nodes("a", "b", "c"), document).names == ("a", "b", "c")


def test_the_faults_on_proxies_are_those_of_the_catalogue() -> None:
    on_proxies = {name for name, fault in FAULTS.items() if "proxy" in fault.needs}
    assert on_proxies >= capability.ON_PROXIES


# ---- bounds


@pytest.mark.parametrize("mode", ["parallel", "leaderAssigned", "peerToPeer"])
def test_what_is_reserved_for_a_task_holds_the_largest_that_it_can_become(mode: str) -> None:
    names = [f"n{place}".ljust(limits.NAME, "x") for place in range(4)]
    nodes = {name: Node(name, 1, "d", "a:1", "a:2", proxies=("p" * limits.NAME,)) for name in names}
    steps = [step(f"s{place}", 5, retries=2) for place in range(5)]
    document = orchestration(mode, *steps, targets=TargetRule(count=2))
    task = Task("t" * limits.TASK_ID, document, tuple(names), limits.NODES, START_MS, START_MS)
    state = ClusterState(tasks={task.id: task})
    empty = len(snapshot.pack(snapshot.Snapshot(0, ClusterState(), RequestWindow())))
    attempts = 1 if mode == "parallel" else 3
    runs = {}
    for index in range(5):
        for slot in slots(task):
            for attempt in range(1, attempts + 1):
                key = RunId(task.id, 1, index, slot if mode == "parallel" else f"{slot}{index}".ljust(63, "y"), attempt)
                runs[key] = _largest_run(key, names[0])
    packed = len(snapshot.pack(snapshot.Snapshot(0, state.with_(runs=runs), RequestWindow())))
    assert packed - empty <= admission.reserve(task, nodes)


def _largest_run(key: RunId, node: str) -> Run:
    big = 2**62
    counts = {f"{place}".ljust(limits.EFFECT_NAME, "c"): big for place in range(limits.EFFECT_COUNTS)}
    return Run(
        key, RunStatus.RECOVERY_FAILED, node, big, (), big, big, big, big, big, 1.5, "r" * limits.RUN_REASON, (counts,)
    )


def test_the_largest_state_fits_a_snapshot() -> None:
    window = RequestWindow()
    for place in range(limits.REQUESTS_REMEMBERED):
        window.remember(f"{place}".rjust(40, "r"), {"ok": False, "error": "x" * 1000})
    halts = {}
    for place in range(limits.HALTS):
        name = f"{place}".rjust(limits.TASK_ID, "h")
        halts[name] = HaltRecord(name, "r" * limits.REASON, "n" * limits.NAME, START_MS)
    state = ClusterState(
        finished={f"{place}".rjust(limits.TASK_ID, "t"): b"x" * limits.TASK_ENCODED for place in range(1000)},
        forgotten={place.to_bytes(8, "big"): None for place in range(limits.TASK_IDS_REMEMBERED)},
        halts=halts,
        lifted={f"{place}".rjust(limits.TASK_ID, "l"): None for place in range(limits.HALTS_LIFTED)},
        access=_largest_access(),
    )
    packed = snapshot.pack(snapshot.Snapshot(2**60, state, window))
    assert len(packed) + limits.SNAPSHOT_WORKING <= limits.SNAPSHOT


def _largest_access() -> Access:
    name, big = "n" * limits.NAME, 2**60
    tokens = {
        f"{place:016}": ApiToken(f"{place:016}", name, "operator", bytes(32), big, big, name)
        for place in range(limits.API_TOKENS)
    }
    joins = {
        f"{place:016}": JoinToken(f"{place:016}", bytes(32), big, big, True, name, name, name)
        for place in range(limits.JOIN_TOKENS)
    }
    marks = ("a" * 64, "b" * 64)
    return Access(
        tokens=tokens,
        joins=joins,
        authorities={mark: TrustedAuthority(mark, "x" * limits.AUTHORITY) for mark in marks},
        signer=marks[0],
        identities={
            f"{place}".rjust(limits.NAME, "n"): NodeIdentity(
                f"{place}".rjust(limits.NAME, "n"), marks, marks[0], marks[0]
            )
            for place in range(limits.NODES)
        },
        revoked={f"{place:032}": big for place in range(limits.REVOKED)},
    )


# ---- transitions


def test_the_tables_hold_together() -> None:
    left = {move.before for move in transitions.RUN_MOVES if move.before}
    reached = {move.after for move in transitions.RUN_MOVES}
    assert reached == set(RunStatus)
    assert left == {RunStatus.PLANNED, *LIVE}
    ends = {move.after for move in transitions.TASK_MOVES} - {move.before for move in transitions.TASK_MOVES}
    assert ends == FINAL
    for moves in (transitions.RUN_MOVES, transitions.TASK_MOVES):
        assert len(set(moves)) == len(moves)
        assert all(move.cause in c.KINDS for move in moves)


def test_a_move_that_is_not_in_the_table_is_a_defect() -> None:
    assert transitions.run_may(RunStatus.PLANNED, "startRun", RunStatus.GRANTED)
    with pytest.raises(transitions.IllegalMove, match="from skipped to granted because of startRun"):
        transitions.check_run(RunStatus.SKIPPED, "startRun", RunStatus.GRANTED)
    with pytest.raises(transitions.IllegalMove):
        transitions.check_task(TaskStatus.COMPLETED, "halt", TaskStatus.HALTED)


def test_the_diagrams_are_drawn_from_the_tables() -> None:
    run, task = transitions.run_diagram(), transitions.task_diagram()
    assert run.startswith("stateDiagram-v2\n    [*] --> planned: planRuns\n    planned --> granted: startRun\n")
    assert "    recovering --> succeeded: runFinished\n" in run
    assert "    succeeded --> [*]\n" in run
    assert "    paused --> running: resumeTask\n" in task
    assert "    recoveryFailed --> [*]\n" in task


# ---- history


def _finished(nodes: int, steps: int, reason: str = "", name: int = 8) -> dict[str, Any]:
    names = tuple(f"n{place:0{name - 1}}" for place in range(nodes))
    document = orchestration("parallel", *(step(f"step {place}", 5) for place in range(steps)))
    task = Task("task-1", document, names, limits.NODES, START_MS, START_MS + 1, started_ms=START_MS)
    runs = [
        Run(
            RunId("task-1", 1, place, node, 1),
            RunStatus.FAILED if node == names[-1] else RunStatus.SUCCEEDED,
            node,
            reason=reason,
            effects=({"touched": 3, "bytes": 1000},),
        )
        for place in range(steps)
        for node in names
    ]
    end = Conclusion(TaskStatus.FAILED, Verdict.FAILED, "x")
    data = history.summarize(Progress(task, runs), end, START_MS + 9)
    assert len(data) <= limits.TASK_ENCODED
    return history.load(data)


def test_a_small_task_is_remembered_whole() -> None:
    summary = _finished(2, 2)
    assert summary["shed"] == []
    assert summary["targets"] == ["n0000000", "n0000001"]
    assert summary["steps"][0] == {
        "index": 0,
        "name": "step 0",
        "faults": ["latency"],
        "status": "failed",
        "effects": [{"bytes": 2000, "touched": 6}],
    }
    assert summary["nodes"]["n0000001"] == {
        "outcome": "failed",
        "reason": "",
        "runs": 2,
        "touched": 6,
        "effects": {"bytes": 2000, "touched": 6},
    }
    assert summary["runs"][0] == {
        "id": "task-1/1/0/n0000000/1",
        "node": "n0000000",
        "status": "succeeded",
        "reason": "",
        "grantedMs": 0,
        "activeMs": 0,
        "endedMs": 0,
        "effects": [{"bytes": 1000, "touched": 3}],
    }
    assert summary["outcomes"] == {"succeeded": 1, "failed": 1}


def test_what_does_not_fit_is_shed_in_order_and_told() -> None:
    assert _finished(10, 10)["shed"] == ["runs"]
    assert _finished(60, 2)["shed"] == ["runs", "node effects"]
    many = _finished(120, 2, reason="it broke")
    assert many["shed"] == ["runs", "node effects", "step details", "node details"]
    assert len(many["nodes"]) == 120
    assert many["nodes"]["n0000119"] == {"outcome": "failed", "reason": "", "runs": 0, "touched": 0, "effects": {}}


def test_the_largest_task_keeps_the_outcomes_and_the_nodes_that_failed() -> None:
    summary = _finished(limits.NODES, 20, name=limits.NAME)
    assert summary["outcomes"] == {"succeeded": 499, "failed": 1}
    assert summary["nodesOmitted"] == limits.NODES - len(summary["nodes"])
    assert max(summary["nodes"]) == "n" + str(limits.NODES - 1).rjust(limits.NAME - 1, "0")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 80), st.integers(1, 200), st.text(max_size=100), st.integers(5, limits.NAME))
def test_a_summary_always_fits_and_always_loads(nodes: int, steps: int, reason: str, name: int) -> None:
    if nodes:
        assert sum(_finished(nodes, steps, reason, name)["outcomes"].values()) == nodes


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x01", b"\xc1", b"\x81\xa7version\x01"])
def test_bytes_that_are_no_summary_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        history.load(data)


def test_a_paused_attempt_does_not_make_its_node_look_interrupted() -> None:
    world = World(1)
    world.accept("t", orchestration("parallel", step("one", 10)))
    world.pass_time(4)
    world.must(c.PauseTask("t"))
    world.settle()
    world.must(c.ResumeTask("t"))
    result = world.finish("t")
    assert result["nodes"]["n1"]["outcome"] == "succeeded"
    assert result["nodes"]["n1"]["touched"] == 10
    assert [run["status"] for run in result["runs"]] == ["interrupted", "succeeded"]


# ---- clocks


def test_a_new_leader_gives_planned_runs_their_whole_time_again() -> None:
    world = World(1)
    world.nodes["n1"].asks = False
    world.accept("t", orchestration())
    world.pass_time(limits.OFFER_TIMEOUT - 1)
    world.now_ms += 3_600_000  # the next leader's clock is an hour ahead
    world.term = 2
    world.must(c.LeaderStarted(2, "n2"))
    run = world.state.runs_of("t")[0]
    assert not nobody_asks(world.state, world.now_ms, run)
    assert nobody_asks(world.state, world.now_ms + int(limits.OFFER_TIMEOUT * 1000) + 1, run)


def test_a_clock_that_is_behind_does_not_stop_the_cluster() -> None:
    world = World(1)
    world.accept("t", orchestration("parallel", step("one", 5), step("two", 5, delay_before_seconds=3)))
    world.pass_time(6)
    world.now_ms -= 3_600_000
    world.term = 2
    world.must(c.LeaderStarted(2, "n2"))
    assert seconds_since(world.state, world.now_ms + 1000, START_MS) == 1.0
    world.pass_time(4)
    assert world.run("t/1/1/n1/1").status is RunStatus.ACTIVE


# ---- invariants see what is wrong


def _broken(world: World, **changes: Any) -> list[str]:
    return invariants.check(world.state.with_(**changes))


def _change(run: Run, **changes: Any) -> dict[RunId, Run]:
    return {run.id: dataclasses.replace(run, **changes)}


def test_the_invariants_see_what_must_not_be() -> None:
    world = World(3)
    world.accept("t", orchestration("sequential", step("one", 50), limits=SafetyLimits(max_nodes=1)))
    world.pass_time(1)
    state, run, task = world.state, world.state.runs_of("t")[0], world.state.tasks["t"]
    assert invariants.check(state) == []
    other = dataclasses.replace(run, id=run.id._replace(node="n2"), node="n2")
    two = {**state.runs, other.id: other}
    assert {word for text in _broken(world, runs=two) for word in text.split()} >= {"sequential", "allows"}
    same = dataclasses.replace(run, id=run.id._replace(step=0, attempt=2))
    texts = _broken(world, runs={**state.runs, same.id: same})
    assert any("proxy:web of n1 is under" in text for text in texts)
    assert any("two open runs" in text for text in texts)
    assert any("not registered" in text for text in _broken(world, runs=_change(run, incarnation=9)))
    assert any("no target" in text for text in _broken(world, runs=_change(run, node="ghost")))
    assert any("belongs to no unfinished task" in text for text in _broken(world, tasks={}))
    paused = {"t": dataclasses.replace(task, status=TaskStatus.PAUSED)}
    assert any("is paused and has runs" in text for text in _broken(world, tasks=paused))
    failed = {**state.nodes, "n1": dataclasses.replace(state.nodes["n1"], status=NodeStatus.FAILED)}
    assert invariants.check(state.with_(nodes=failed))


# ---- the verdict


def test_a_verdict_needs_evidence_of_every_fault_of_every_step() -> None:
    document = orchestration("parallel", step("one"), step("two"))
    task = Task("t", document, ("a", "b"), 9, START_MS, START_MS)

    def run(index: int, node: str, touched: int) -> Run:
        effects = ({"touched": touched},)
        return Run(RunId("t", 1, index, node, 1), RunStatus.SUCCEEDED, node, effects=effects)

    good = [run(0, "a", 1), run(0, "b", 0), run(1, "a", 0), run(1, "b", 2)]
    assert conclude(Progress(task, good)).verdict is Verdict.PASSED
    assert conclude(Progress(task, good[:3])).verdict is Verdict.INCONCLUSIVE
    assert "'two' touched nothing" in conclude(Progress(task, good[:3])).reason
    why = "no request reached proxy web while it was slowed"
    told = [*good[:2], replace(good[2], reason=why)]
    assert conclude(Progress(task, told)).reason == f"no evidence: latency of the step 'two' touched nothing: {why}"


@pytest.mark.parametrize("mode", ["leaderAssigned", "peerToPeer"])
@pytest.mark.parametrize("reason", ["nodeFailed", "peerRestarted"])
def test_a_one_shot_run_that_may_have_happened_is_not_attempted_again(mode: str, reason: str) -> None:
    fault = ResolvedFault("process_kill", {}, one_shot=True)
    for step_, state in ((step("one", faults=(fault,)), SlotState.LOST), (step("one"), SlotState.AGAIN)):
        task = Task("t", orchestration(mode, step_), ("a", "b"), 9, START_MS, START_MS)
        lost = Run(RunId("t", 1, 0, "a", 1), RunStatus.INTERRUPTED, "a", granted_ms=START_MS, reason=reason)
        assert slot_state(task, step_, [lost]) is state
        left_out = replace(lost, status=RunStatus.SKIPPED, granted_ms=0)
        assert slot_state(task, step_, [left_out]) is not SlotState.SUCCEEDED
        words = step_failure(Progress(task, [lost]), 0, "" if mode == "leaderAssigned" else "0", SlotState.LOST)
        assert ("it may have happened" in words) is step_.one_shot


# ---- previews


def test_a_preview_tells_the_runs_of_each_step() -> None:
    world = World(3)
    document = orchestration("parallel", step("one", 5), step("two", 7), limits=SafetyLimits(max_percent=100))
    seen = preview(world.state, document, world.now_ms)
    assert (seen["accepted"], seen["refusals"]) == (True, [])
    assert seen["targets"] == ["n1", "n2", "n3"]
    assert seen["limits"] == {"activeNodes": 3, "maxNodes": None, "maxPercent": 100, "atOnce": 3}
    assert [[run["node"] for run in found["runs"]] for found in seen["steps"]] == [["n1", "n2", "n3"]] * 2
    assert seen["steps"][1]["runs"][0] == {"run": "preview/1/1/n1/1", "node": "n1", "durationSeconds": 7}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("sequential", [["n1", "n2"], ["n1", "n2"]]),
        ("leaderAssigned", [["n1"], ["n1"]]),
        ("peerToPeer", [["*"], ["*"]]),
    ],
)
def test_a_preview_knows_the_modes(mode: str, expected: list[list[str]]) -> None:
    world = World(2)
    document = orchestration(mode, step("one", 5), step("two", 5, delay_before_seconds=9))
    seen = preview(world.state, document, world.now_ms)
    assert [[run["node"] for run in found["runs"]] for found in seen["steps"]] == expected


def test_a_preview_tells_every_refusal() -> None:
    world = World(3)
    world.must(c.DrainNode("n3", True))
    world.must(c.UpdateProxies("n2", 1, []))
    document = orchestration(targets=TargetRule(names=("n1", "n2", "n3", "x")), limits=SafetyLimits(max_nodes=1))
    seen = preview(world.state, document, world.now_ms)
    assert not seen["accepted"]
    assert len(seen["refusals"]) == 4
    assert all(not found["runs"] for found in seen["steps"])
    assert not world.state.tasks


@pytest.mark.parametrize("mode", ["parallel", "sequential", "leaderAssigned", "peerToPeer"])
def test_a_preview_promises_what_the_planner_then_does(mode: str) -> None:
    world = World(3)
    document = orchestration(mode, step("one", 5), step("two", 5))
    seen = preview(world.state, document, world.now_ms)
    world.accept("preview", document)
    first = plan(world.state, world.now_ms)[0]
    assert isinstance(first, c.PlanRuns)
    promised = [run["run"] for run in seen["steps"][0]["runs"]]
    assert promised[: len(first.runs)] == [run for run, _ in first.runs]

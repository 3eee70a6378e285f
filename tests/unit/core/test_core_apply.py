"""What each command does, and what refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from raftchaos import limits
from raftchaos.core import admission
from raftchaos.core import commands as c
from raftchaos.core.apply import HANDLERS
from raftchaos.core.history import hash_of
from raftchaos.errors import all_errors
from raftchaos.model.nodes import NodeStatus
from raftchaos.model.resolved import OnNoTargets, ResolvedFault, SafetyLimits, TargetRule
from raftchaos.model.runs import RunStatus
from tests.unit.core.core_world import World, orchestration, step


def refused(result: dict[str, Any], code: str, *words: str) -> dict[str, Any]:
    """Checks a refusal: its code is one of the tree of errors, and its text says these words."""
    assert not result["ok"], result
    assert result["code"] == code, result
    assert code == "stale-term" or code in all_errors()
    for word in words:
        assert word in result["error"], result
    return result


def active_run(world: World, task: str = "t", **changes: Any) -> str:
    """Submits a task with one long step and waits until it is active; the id of its first run."""
    world.accept(task, orchestration("parallel", step("one", 100), **changes))
    world.pass_time(1)
    first = world.state.runs_of(task)[0]
    assert first.status is RunStatus.ACTIVE
    return str(first.id)


def test_every_command_has_a_handler() -> None:
    assert set(HANDLERS) == set(c.KINDS.values())


# ---- leaders


@pytest.mark.parametrize(
    "command",
    [
        c.LeaderStarted(4, "n1"),
        c.NodeFailed(4, "n1", 1),
        c.NodeActive(4, "n1", 1),
        c.NodeDegraded(4, "n1", 1, ["disk"]),
        c.PlanRuns(4, "t", [("t/1/0/n1/1", 1.0)]),
        c.SkipRun(4, "t/1/0/n1/1", "x"),
        c.WindDownTask(4, "t", "failed"),
        c.FinishTask(4, "t"),
    ],
)
def test_what_an_earlier_leader_wanted_is_refused(command: c.Command) -> None:
    world = World(1)
    world.accept("t", orchestration())
    world.term = 5
    world.must(c.LeaderStarted(5, "n2"))
    before = world.state
    refused(world.do(command), "stale-term")
    assert world.state is before


def test_a_command_of_an_earlier_term_is_refused_even_before_the_new_leader_spoke() -> None:
    world = World(1)
    world.term = 5
    refused(world.do(c.NodeFailed(1, "n1", 1)), "stale-term")


def test_a_leader_is_known_by_its_term() -> None:
    world = World(1)
    world.term = 2
    world.must(c.LeaderStarted(2, "n2"))
    assert (world.state.term, world.state.leader) == (2, "n2")
    assert world.machine.events.after(0, 0)[-1].data == {"leader": "n2", "term": 2}


# ---- nodes


def test_a_new_start_takes_the_place_of_the_old_one_and_ends_its_runs() -> None:
    world = World(2)
    active_run(world)
    world.must(c.DrainNode("n1", True))
    world.restart("n1")
    node = world.state.nodes["n1"]
    assert (node.incarnation, node.status, node.drained) == (2, NodeStatus.ACTIVE, True)
    run = world.run("t/1/0/n1/1")
    assert (run.status, run.reason) == (RunStatus.INTERRUPTED, "peerRestarted")
    assert world.run("t/1/0/n2/1").status is RunStatus.ACTIVE


def test_the_next_start_may_still_tell_what_the_interrupted_run_did() -> None:
    world = World(1)
    run = active_run(world)
    world.restart("n1")
    finished = c.RunFinished(run, "n1", 2, "interrupted", "", [{"touched": 3}])
    assert world.must(finished)["late"]
    assert world.run(run).effects == ({"touched": 3},)
    world.must(c.RunFinished(run, "n1", 2, "succeeded", "", [{"touched": 9}]))
    assert world.run(run).effects == ({"touched": 3},)
    assert world.run(run).status is RunStatus.INTERRUPTED


def test_a_name_is_not_given_twice() -> None:
    world = World(2)
    result = refused(world.do(world.registration("n1", directory="other", incarnation=9)), "conflict", "taken")
    assert "raftchaos node remove n1" in result["hint"]


def test_an_older_start_is_refused_and_the_same_one_is_answered() -> None:
    world = World(2)
    world.restart("n1")
    refused(world.do(world.registration("n1", incarnation=1)), "conflict", "newer start")
    assert world.must(world.registration("n1", incarnation=2, api_address="elsewhere:1"))["existing"]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Bad/name"},
        {"name": "*"},
        {"incarnation": 0},
        {"directory": ""},
        {"labels": {"bad key": "x"}},
        {"labels": {f"k{place}": "v" for place in range(limits.LABELS + 1)}},
        {"proxies": ["a/b"]},
        {"capabilities": [""]},
        {"raft_address": "x" * 400},
    ],
)
def test_a_registration_is_checked(changes: dict[str, Any]) -> None:
    refused(World(1).do(c.RegisterNode(**{**_new_node(), **changes})), "usage")


def _new_node() -> dict[str, Any]:
    return {"name": "n9", "incarnation": 1, "directory": "d", "raft_address": "a:1", "api_address": "a:2"}


def test_there_are_at_most_so_many_nodes() -> None:
    world = World(0, check_all=False)
    for place in range(limits.NODES):
        world.add_node(f"n{place}")
    refused(world.do(c.RegisterNode(**{**_new_node(), "name": "one-more"})), "refused", "500 nodes")


def test_a_failed_node_loses_its_runs_at_once_and_comes_back() -> None:
    world = World(2)
    run = active_run(world)
    world.fail("n1")
    node = world.state.nodes["n1"]
    assert (node.status, node.failed_index) == (NodeStatus.FAILED, len(world.log))
    assert world.run(run).reason == "nodeFailed"
    assert world.do(c.NodeFailed(1, "n1", 1))["existing"]
    world.back("n1")
    assert world.state.nodes["n1"].status is NodeStatus.ACTIVE
    refused(world.do(c.NodeFailed(1, "n1", 7)), "not-found", "not the registered one")


def test_a_degraded_node_keeps_its_runs_and_gets_no_new_ones() -> None:
    world = World(1)
    run = active_run(world)
    world.must(c.NodeDegraded(1, "n1", 1, ["the proxy restarts"]))
    assert world.state.nodes["n1"].reasons == ("the proxy restarts",)
    assert world.run(run).status is RunStatus.ACTIVE
    refused(world.submit("u", orchestration()), "refused", "no node matches")
    world.must(c.NodeDegraded(1, "n1", 1, []))
    assert world.state.nodes["n1"].status is NodeStatus.ACTIVE
    world.fail("n1")
    refused(world.do(c.NodeDegraded(1, "n1", 1, ["x"])), "refused")


def test_a_node_with_runs_is_not_removed() -> None:
    world = World(2)
    active_run(world)
    refused(world.do(c.RemoveNode("n1")), "refused", "has 1 runs")
    world.fail("n1")
    world.must(c.RemoveNode("n1"))
    assert "n1" not in world.state.nodes
    refused(world.do(c.RemoveNode("n1")), "not-found")


def test_the_last_node_is_not_removed() -> None:
    refused(World(1).do(c.RemoveNode("n1")), "refused", "last node")


def test_a_removed_name_can_be_taken_by_a_new_peer() -> None:
    world = World(2)
    world.must(c.RemoveNode("n1"))
    world.must(world.registration("n1", directory="new"))
    assert world.state.nodes["n1"].directory == "new"


def test_proxies_are_told_by_the_registered_start_only() -> None:
    world = World(1)
    world.must(c.UpdateProxies("n1", 1, ["b", "a", "a"]))
    assert world.state.nodes["n1"].proxies == ("a", "b")
    refused(world.do(c.UpdateProxies("n1", 2, [])), "not-found")
    refused(world.do(c.UpdateProxies("n1", 1, ["/"])), "usage")


# ---- submit


def test_a_submit_is_answered_with_the_task_that_has_the_id() -> None:
    world = World(1)
    world.accept("t", orchestration())
    assert world.submit("t", orchestration())["existing"]
    refused(world.submit("t", orchestration("sequential")), "conflict", "another submit")
    world.finish("t")
    again = world.submit("t", orchestration())
    assert (again["ok"], again["status"], again["verdict"]) == (True, "completed", "passed")
    refused(world.submit("t", orchestration("sequential")), "conflict", "another submit")
    assert len(world.state.finished) == 1


def test_a_task_that_left_the_history_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TASKS_FINISHED", 2)
    world = World(1)
    for name in ("a", "b", "c"):
        world.accept(name, orchestration())
        world.finish(name)
    assert list(world.state.finished) == ["b", "c"]
    assert list(world.state.forgotten) == [hash_of("a")]
    refused(world.do(c.SubmitTask("a", orchestration().to_dict())), "conflict", "left the history")


@pytest.mark.parametrize("task", ["", "a/b", "-x", "a" * (limits.TASK_ID + 1), "a b", "*"])
def test_the_id_of_a_task_is_checked(task: str) -> None:
    refused(World(1).submit(task, orchestration()), "usage", "task id")


def _with(**changes: Any) -> dict[str, Any]:
    return {**orchestration().to_dict(), **changes}


def _with_step(**changes: Any) -> dict[str, Any]:
    return _with(steps=[{**step("one").to_dict(), **changes}])


@pytest.mark.parametrize(
    "document",
    [
        {},
        _with(steps=[]),
        _with(steps=5),
        _with(mode="upside-down"),
        _with(deadlineSeconds=float("nan")),
        _with(deadlineSeconds=-1),
        _with(limits={"maxNodes": "two", "maxPercent": None}),
        _with(targets={"names": [], "selector": {}, "count": 0, "percent": None}),
        _with(targets={"names": [], "selector": {}, "count": None, "percent": 101}),
        _with(seed=2**70),
        _with_step(durationSeconds=0),
        _with_step(durationSeconds=1e300),
        _with_step(retries=-1),
        _with_step(faults=[]),
        _with_step(faults=[{"type": "latency", "parameters": {"x": b"bytes"}}]),
        _with_step(faults=[{"type": "latency", "parameters": {1: 2}}]),
    ],
)
def test_an_orchestration_that_makes_no_sense_is_refused(document: dict[str, Any]) -> None:
    world = World(1)
    try:
        command = c.SubmitTask("t", document)
        c.encode(command)
    except OverflowError:
        return  # it cannot even be sent
    refused(world.do(command), "usage")
    assert not world.state.tasks


def test_names_that_are_not_there_are_told() -> None:
    world = World(3)
    world.fail("n2")
    world.must(c.DrainNode("n3", True))
    rule = TargetRule(names=("n1", "n2", "n3", "ghost"))
    refused(
        world.submit("t", orchestration(targets=rule)),
        "refused",
        "no such node: ghost",
        "n2 is failed",
        "n3 is drained",
    )


def test_a_selector_that_matches_nothing_fails_or_ends_at_once() -> None:
    world = World(2)
    rule = TargetRule(selector={"zone": "eu"})
    refused(world.submit("a", orchestration(targets=rule)), "refused", "no node matches", "zone=eu")
    result = world.submit("b", orchestration(targets=rule, on_no_targets=OnNoTargets.SKIP))
    assert (result["ok"], result["status"]) == (True, "completed")
    assert world.result("b")["verdict"] == "inconclusive"
    assert world.result("b")["reason"] == "no node matched"


def test_a_parallel_task_that_can_never_fit_is_refused_with_the_numbers() -> None:
    world = World(4)
    tight = SafetyLimits(max_percent=50)
    refused(world.submit("t", orchestration(limits=tight)), "refused", "4 nodes", "allow 2", "50 of 4 active")
    world.accept("u", orchestration(limits=tight, targets=TargetRule(count=2)))
    world.accept("v", orchestration("sequential", limits=tight))


def test_more_takers_than_nodes_are_refused() -> None:
    result = World(2).submit("t", orchestration("peerToPeer", targets=TargetRule(count=3)))
    refused(result, "refused", "3 nodes are to take each step, 2 match")


def test_a_task_that_half_of_the_targets_can_do_is_refused_whole() -> None:
    world = World(1)
    world.add_node("bare", ())
    world.add_node("other", ("payments",))
    world.must(c.RegisterNode(**{**_new_node(), "name": "old", "proxies": ["web"]}))
    result = refused(
        world.submit("t", orchestration()),
        "refused",
        "bare: it has no proxy web",
        "old: it cannot do latency",
        "other: it has no proxy web",
    )
    assert "n1" not in result["error"]
    world.accept("u", orchestration("leaderAssigned"))
    assert world.state.tasks["u"].targets == ("n1",)
    everywhere = step("all", faults=(ResolvedFault("latency", {"latencyMs": 5.0}),))
    refused(world.submit("v", orchestration("parallel", everywhere)), "refused", "bare: it has no proxy, and latency")


def test_an_assigned_step_needs_one_node_that_can_do_it() -> None:
    world = World(2)
    named = step("pay", faults=(ResolvedFault("latency", {"proxy": ["payments"]}),))
    refused(world.submit("t", orchestration("leaderAssigned", step("one"), named)), "refused", "step 'pay'")


def test_nothing_is_accepted_while_the_cluster_is_halted() -> None:
    world = World(1)
    world.must(c.Halt("h", "smoke", "n1"))
    refused(world.submit("t", orchestration()), "halted", "smoke")


def test_there_are_at_most_so_many_unfinished_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TASKS_UNFINISHED", 2)
    world = World(1)
    world.accept("a", orchestration())
    world.accept("b", orchestration())
    refused(world.submit("c", orchestration()), "refused", "2 unfinished tasks")


def test_a_submit_that_the_snapshot_could_not_hold_is_refused() -> None:
    world = World(3)
    wide = [step(f"s{place}", faults=(ResolvedFault("latency", {"x": "y" * 1000}),)) for place in range(150)]
    accepted = 0
    for place in range(60):
        result = world.submit(f"t{place}", orchestration("sequential", *wide, targets=TargetRule(names=("n1",))))
        if not result["ok"]:
            refused(result, "refused", "bytes of the replicated state")
            break
        accepted += 1
    assert 0 < accepted < 60
    assert len(world.machine.snapshot()) < limits.SNAPSHOT


# ---- plan and skip


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [("nonsense", 1.0)],
        [("t/1/0/n1/2", 1.0)],
        [("t/1/9/n1/1", 1.0)],
        [("t/1/-1/n1/1", 1.0)],
        [("t/2/0/n1/1", 1.0)],
        [("u/1/0/n1/1", 1.0)],
        [("t/1/0/n7/1", 1.0)],
        [("t/1/0/*/1", 1.0)],
        [("t/1/0/n1/+1", 1.0)],
        [("t/1/0/n1/1", 0.0)],
        [("t/1/0/n1/1", 1e9)],
        [("t/1/0/n1/1", 1.0), ("t/1/0/n1/1", 1.0)],
    ],
)
def test_only_the_next_attempt_of_a_target_is_planned(runs: list[tuple[str, float]]) -> None:
    world = World(2)
    world.accept("t", orchestration())
    refused(world.do(c.PlanRuns(1, "t", runs)), "refused")
    assert not world.state.runs


def test_an_assigned_step_has_one_open_run() -> None:
    world = World(2)
    world.accept("t", orchestration("leaderAssigned"))
    world.must(c.PlanRuns(1, "t", [("t/1/0/n1/1", 1.0)]))
    refused(world.do(c.PlanRuns(1, "t", [("t/1/0/n2/2", 1.0)])), "refused", "has not ended")
    world.must(c.SkipRun(1, "t/1/0/n1/1", "x"))
    refused(world.do(c.PlanRuns(1, "t", [("t/1/0/n2/1", 1.0)])), "refused", "next attempt is 2")
    world.must(c.PlanRuns(1, "t", [("t/1/0/n2/2", 1.0)]))


def test_only_a_planned_run_is_skipped() -> None:
    world = World(1)
    run = active_run(world)
    refused(world.do(c.SkipRun(1, run, "x")), "refused", "active")
    refused(world.do(c.SkipRun(1, "t/1/0/n1/9", "x")), "not-found")


# ---- start


def planned(world: World, mode: str = "parallel", task: str = "t", **changes: Any) -> str:
    """Submits a task and plans its first runs; the id of the first one."""
    world.accept(task, orchestration(mode, **changes))
    world.plan()
    return str(world.state.runs_of(task)[0].id)


def start(world: World, run: str, **changes: Any) -> dict[str, Any]:
    """Asks for a run as n1 does, but for `changes`."""
    values: dict[str, Any] = {"node": "n1", "incarnation": 1, "directory": "dir-n1", "targets": ["proxy:web"]}
    return world.do(c.StartRun(run, **{**values, **changes}))


def test_a_run_is_granted_once() -> None:
    world = World(1)
    run = planned(world)
    assert start(world, run)["granted"]
    refused(start(world, run), "refused", "the run is granted")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"incarnation": 2}, "not registered"),
        ({"directory": "copy"}, "not registered"),
        ({"node": "ghost"}, "not registered"),
        ({"node": "n2", "directory": "dir-n2"}, "not offered"),
    ],
)
def test_a_run_is_granted_to_the_registered_start_of_its_node(changes: dict[str, Any], words: str) -> None:
    world = World(2)
    refused(start(world, planned(world), **changes), "refused", words)


def test_a_run_is_granted_to_an_active_undrained_node() -> None:
    world = World(2)
    run = planned(world)
    world.must(c.NodeDegraded(1, "n1", 1, ["late"]))
    assert refused(start(world, run), "refused", "degraded")["retryable"]
    world.must(c.NodeDegraded(1, "n1", 1, []))
    world.must(c.DrainNode("n1", True))
    refused(start(world, run), "refused", "drained")
    world.must(c.DrainNode("n1", False))
    assert start(world, run)["granted"]


def test_nothing_is_granted_while_halted_paused_or_over() -> None:
    world = World(2)
    first, second = planned(world, task="a"), planned(world, task="b")
    world.must(c.PauseTask("a"))
    refused(start(world, first), "refused", "paused")
    world.must(c.Halt("h", "", "n1"))
    refused(start(world, second), "halted")
    world.must(c.Resume(["h"]))
    refused(start(world, second), "refused", "recovering")
    world.settle()
    refused(start(world, second), "not-found")


def test_a_limit_counts_every_node_that_may_be_under_a_fault() -> None:
    world = World(3)
    one = SafetyLimits(max_nodes=1)
    limited = planned(world, "sequential", "limited", limits=one)
    other = planned(world, "leaderAssigned", "other", targets=TargetRule(names=("n2",)))
    assert start(world, other, node="n2", directory="dir-n2")["granted"]
    world.now_ms += 500
    result = refused(start(world, limited), "refused", "limit: 2 nodes", "limited allows 1")
    assert result["retryable"]
    assert world.run(limited).asked_ms == world.now_ms
    assert world.run(limited).reason.startswith("limit: ")
    world.must(c.RunFinished(other, "n2", 1, "recoveryFailed", "stuck"))
    refused(start(world, limited), "refused", "limit")
    world.nodes["n2"].incarnation = 2
    world.must(world.registration("n2", incarnation=2))  # it has undone everything
    assert start(world, limited)["granted"]
    assert world.run(limited).reason == ""


def test_the_limit_of_every_running_task_holds() -> None:
    world = World(3)
    strict = planned(world, "leaderAssigned", "strict", limits=SafetyLimits(max_nodes=1))
    loose = planned(world, "leaderAssigned", "loose", targets=TargetRule(names=("n2",)))
    assert start(world, strict)["granted"]
    refused(start(world, loose, node="n2", directory="dir-n2"), "refused", "the task strict allows 1")


def test_two_runs_do_not_share_a_target() -> None:
    world = World(1)
    first, second = planned(world, task="a"), planned(world, task="b")
    assert start(world, first, targets=["proxy:web", "proxy:api"])["granted"]
    assert refused(start(world, second), "refused", "overlapping target", "proxy:web")["retryable"]
    assert start(world, second, targets=["proxy:other"])["granted"]


def test_faults_of_different_types_compose_on_a_target() -> None:
    world = World(1)
    errors = step("one", faults=(ResolvedFault("http_error", {"proxy": ["web"]}),))
    first, second = planned(world, task="a"), planned(world, task="b", steps=(errors,))
    assert start(world, first, targets=["proxy:web"])["granted"]
    assert start(world, second, targets=["proxy:web"])["granted"]
    third = planned(world, task="c", steps=(errors,))
    assert refused(start(world, third), "refused", "overlapping target", "proxy:web")["retryable"]


def test_a_sequential_task_is_on_one_node_even_if_its_runs_were_planned() -> None:
    world = World(2)
    world.accept("t", orchestration("sequential"))
    world.must(c.PlanRuns(1, "t", [("t/1/0/n1/1", 1.0), ("t/1/0/n2/1", 1.0)]))
    assert start(world, "t/1/0/n1/1")["granted"]
    other = {"node": "n2", "directory": "dir-n2"}
    assert refused(start(world, "t/1/0/n2/1", **other), "refused", "sequential")["retryable"]
    world.must(c.RunFinished("t/1/0/n1/1", "n1", 1, "succeeded"))
    assert start(world, "t/1/0/n2/1", **other)["granted"]


def test_a_node_that_cannot_do_it_any_more_is_refused() -> None:
    world = World(1)
    run = planned(world)
    world.must(c.UpdateProxies("n1", 1, []))
    refused(start(world, run), "refused", "it has no proxy web")


# ---- active and finished


def test_only_a_granted_run_becomes_active() -> None:
    world = World(1)
    run = planned(world)
    refused(world.do(c.RunActive(run, "n1", 1)), "refused", "not granted to this start")
    start(world, run)
    refused(world.do(c.RunActive(run, "n1", 2)), "refused", "not granted to this start")
    world.must(c.RunActive(run, "n1", 1))
    assert world.do(c.RunActive(run, "n1", 1))["existing"]
    world.must(c.CancelTask("t"))
    refused(world.do(c.RunActive(run, "n1", 1)), "refused", "recovering")


def test_a_run_is_ended_by_its_own_node_only() -> None:
    world = World(2)
    run = active_run(world)
    refused(world.do(c.RunFinished(run, "n2", 1, "succeeded")), "refused")
    refused(world.do(c.RunFinished(run, "n1", 0, "succeeded")), "refused")
    refused(world.do(c.RunFinished(run, "n1", 1, "skipped")), "usage")
    refused(world.do(c.RunFinished("t/1/0/n1/5", "n1", 1, "succeeded")), "not-found")


def test_a_planned_run_is_not_finished() -> None:
    world = World(1)
    refused(world.do(c.RunFinished(planned(world), "n1", 1, "succeeded")), "refused")


def test_effects_are_kept_within_their_bounds() -> None:
    world = World(1)
    run = active_run(world)
    many = {f"count{place}": place for place in range(50)}
    effect = {**many, "touched": 4, "x" * 100: 1, "negative": -1}
    world.must(c.RunFinished(run, "n1", 1, "succeeded", "r" * 5000, [effect, {"touched": 1}]))
    kept = world.run(run)
    assert len(kept.effects) == 1
    assert len(kept.effects[0]) == limits.EFFECT_COUNTS
    assert kept.effects[0]["touched"] == 4
    assert len(kept.reason.encode()) <= limits.RUN_REASON


def test_a_fault_that_cannot_be_taken_back_ends_its_task_and_goes_on_counting() -> None:
    world = World(2)
    world.nodes["n1"].stuck = True
    world.accept("t", orchestration("parallel", step("one", 5, continue_on_failure=True)))
    result = world.finish("t")
    assert result["status"] == "recoveryFailed"
    assert "t/1/0/n1/1" in result["reason"]
    assert [str(key) for key in world.state.unrecovered] == ["t/1/0/n1/1"]
    again = planned(world, task="u")
    refused(start(world, again), "refused", "overlapping target")
    assert world.must(c.RunFinished("t/1/0/n1/1", "n1", 1, "recoveryFailed"))["existing"]
    assert world.must(c.RunFinished("t/1/0/n1/1", "n1", 1, "succeeded"))["recovered"]
    assert start(world, again)["granted"]


# ---- cancel, pause, halt


def test_cancel_recovers_and_ends_without_a_verdict() -> None:
    world = World(2)
    active_run(world)
    assert world.must(c.CancelTask("t", "enough"))["status"] == "recovering"
    assert {run.status for run in world.state.runs_of("t")} == {RunStatus.RECOVERING}
    result = world.finish("t")
    assert (result["status"], result["verdict"], result["reason"]) == ("cancelled", "inconclusive", "enough")
    assert world.must(c.CancelTask("t"))["status"] == "cancelled"
    refused(world.do(c.CancelTask("ghost")), "not-found")


def test_what_a_task_ends_as_is_decided_once() -> None:
    world = World(1)
    active_run(world)
    world.must(c.CancelTask("t"))
    world.must(c.Halt("h", "", "n1"))
    assert world.must(c.WindDownTask(1, "t", "failed"))["existing"]
    assert world.finish("t")["status"] == "cancelled"


def test_pause_and_resume_are_idempotent_and_refused_at_the_end() -> None:
    world = World(1)
    active_run(world)
    world.must(c.PauseTask("t"))
    assert world.do(c.PauseTask("t"))["existing"]
    world.must(c.ResumeTask("t"))
    assert world.do(c.ResumeTask("t"))["existing"]
    world.must(c.CancelTask("t"))
    refused(world.do(c.PauseTask("t")), "refused", "ending as cancelled")
    refused(world.do(c.ResumeTask("t")), "refused", "ending as cancelled")
    refused(world.do(c.PauseTask("ghost")), "not-found")
    refused(world.do(c.ResumeTask("ghost")), "not-found")


def test_a_pending_task_can_be_paused() -> None:
    world = World(1)
    world.accept("t", orchestration())
    world.must(c.PauseTask("t"))
    world.pass_time(3)
    assert not world.state.runs
    assert world.must(c.ResumeTask("t"))["status"] == "pending"
    assert world.finish("t")["verdict"] == "passed"


def test_a_task_is_not_paused_for_ever_again_and_again() -> None:
    world = World(1)
    active_run(world)
    for _ in range(limits.PAUSED_RUNS + 1):
        result = world.do(c.PauseTask("t"))
        if not result["ok"]:
            break
        world.settle()
        world.must(c.ResumeTask("t"))
        world.settle()
    refused(result, "refused", "paused too often")


def test_a_pause_that_the_snapshot_could_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(2)
    active_run(world)
    reserved = world.state.tasks["t"].reserved
    monkeypatch.setattr(limits, "SNAPSHOT_WORKING", admission.used(world.state) + 100)
    refused(world.do(c.PauseTask("t")), "refused", "no room")
    monkeypatch.setattr(limits, "SNAPSHOT_WORKING", admission.used(world.state) + 10_000)
    world.must(c.PauseTask("t"))
    assert world.state.tasks["t"].reserved > reserved


def test_a_halt_ends_everything_and_is_lifted_by_its_name_only() -> None:
    world = World(2)
    active_run(world, "a")
    world.accept("b", orchestration())
    world.must(c.Halt("h1", "smoke", "n2"))
    world.must(c.Halt("h2", "more smoke", "n1"))
    assert world.must(c.Halt("h1", "", "n2"))["existing"]
    world.settle()
    assert {world.result(task)["status"] for task in ("a", "b")} == {"halted"}
    assert world.result("a")["reason"] == "halted: smoke"
    result = world.must(c.Resume(["h1", "ghost"]))
    assert (result["lifted"], result["remaining"]) == (["h1"], ["h2"])
    assert world.state.halted
    world.must(c.Resume(["h2"]))
    assert not world.state.halted
    assert world.must(c.Halt("h1", "", "n2"))["lifted"]
    assert not world.state.halted
    assert world.state.completed == {"halted/parallel": 2}


def test_lifted_halts_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HALTS_LIFTED", 2)
    world = World(1)
    for name in ("h1", "h2", "h3"):
        world.must(c.Halt(name, "", "n1"))
        world.must(c.Resume([name]))
    assert list(world.state.lifted) == ["h2", "h3"]


# ---- the end


def test_a_task_does_not_finish_while_runs_are_open() -> None:
    world = World(1)
    active_run(world)
    refused(world.do(c.FinishTask(1, "t")), "refused")
    refused(world.do(c.FinishTask(1, "ghost")), "not-found")
    refused(world.do(c.WindDownTask(1, "t", "completed")), "usage")


def test_a_fault_that_touched_nothing_proves_nothing() -> None:
    world = World(2)
    for node in world.nodes.values():
        node.touched = 0
    world.accept("t", orchestration())
    result = world.finish("t")
    assert (result["status"], result["verdict"]) == ("completed", "inconclusive")
    assert result["reason"] == "no evidence: latency of the step 'one' touched nothing"
    assert world.state.completed == {"inconclusive/parallel": 1}


def test_one_node_that_was_touched_is_evidence_enough() -> None:
    world = World(2)
    world.nodes["n1"].touched = 0
    world.accept("t", orchestration())
    assert world.finish("t")["verdict"] == "passed"


def test_a_step_that_ran_nowhere_proves_nothing() -> None:
    world = World(1)
    world.accept("t", orchestration("parallel", step("one", 5), step("two", 5)))
    world.pass_time(3)
    world.must(c.DrainNode("n1", True))
    result = world.finish("t")
    assert (result["status"], result["verdict"]) == ("completed", "inconclusive")
    assert result["reason"] == "no evidence: the step 'two' ran nowhere"
    assert result["runs"][1]["reason"] == "nodeDrained"

"""The four modes as time-lines: when each run became active and ended, on which node."""

from __future__ import annotations

from raftchaos.core import commands as c
from raftchaos.model.resolved import SafetyLimits, TargetRule
from tests.unit.core.core_world import World, orchestration, step


def test_parallel_runs_each_step_everywhere_with_a_barrier() -> None:
    world = World(3)
    world.accept("t", orchestration("parallel", step("one", 10), step("two", 5, delay_before_seconds=2)))
    assert world.finish("t")["verdict"] == "passed"
    assert world.timeline("active", "succeeded", "completed") == [
        "  0.0 1/0/n1/1 active n1",
        "  0.0 1/0/n2/1 active n2",
        "  0.0 1/0/n3/1 active n3",
        " 10.0 1/0/n1/1 succeeded n1",
        " 10.0 1/0/n2/1 succeeded n2",
        " 10.0 1/0/n3/1 succeeded n3",
        " 12.0 1/1/n1/1 active n1",
        " 12.0 1/1/n2/1 active n2",
        " 12.0 1/1/n3/1 active n3",
        " 17.0 1/1/n1/1 succeeded n1",
        " 17.0 1/1/n2/1 succeeded n2",
        " 17.0 1/1/n3/1 succeeded n3",
        " 17.0 task completed passed",
    ]


def test_parallel_passes_the_barrier_without_a_lost_node_and_fails() -> None:
    world = World(3)
    world.accept("t", orchestration("parallel", step("one", 10), step("two", 5)))
    world.pass_time(4)
    world.fail("n2")
    result = world.finish("t")
    assert world.timeline("interrupted", "skipped", "succeeded", "failed") == [
        "  4.0 1/0/n2/1 interrupted n2 (nodeFailed)",
        " 10.0 1/0/n1/1 succeeded n1",
        " 10.0 1/0/n3/1 succeeded n3",
        " 10.0 1/1/n2/1 skipped n2 (nodeFailed)",
        " 15.0 1/1/n1/1 succeeded n1",
        " 15.0 1/1/n3/1 succeeded n3",
        " 15.0 task failed failed",
    ]
    assert (result["status"], result["verdict"]) == ("failed", "failed")
    assert result["reason"] == "the step 'one' was lost on n2: nodeFailed"
    assert result["nodes"]["n2"]["outcome"] == "interrupted"


def test_parallel_ignores_a_lost_node_where_the_step_says_so() -> None:
    world = World(3)
    world.accept("t", orchestration("parallel", step("one", 10, continue_on_failure=True)))
    world.pass_time(4)
    world.fail("n2")
    assert world.finish("t")["verdict"] == "passed"


def test_a_fault_that_fails_ends_the_task_and_recovers_the_others() -> None:
    world = World(3)
    world.nodes["n2"].fails.add(0)
    world.accept("t", orchestration("parallel", step("one", 10), step("two", 5)))
    result = world.finish("t")
    assert world.timeline("failed", "interrupted", "recovering") == [
        "  0.0 1/0/n2/1 failed n2 (it cannot be injected)",
        "  0.0 task recovering",
        "  0.0 1/0/n1/1 recovering n1 (stepFailed)",
        "  0.0 1/0/n3/1 recovering n3 (stepFailed)",
        "  0.0 1/0/n1/1 interrupted n1 (stepFailed)",
        "  0.0 1/0/n3/1 interrupted n3 (stepFailed)",
        "  0.0 task failed failed",
    ]
    assert result["reason"] == "stepFailed: the step 'one' failed on n2: it cannot be injected"
    assert [item["status"] for item in result["steps"]] == ["failed", "notReached"]


def test_a_fault_that_fails_is_ignored_where_the_step_says_so() -> None:
    world = World(2)
    world.nodes["n2"].fails.add(0)
    world.accept("t", orchestration("parallel", step("one", 10, continue_on_failure=True), step("two", 5)))
    assert world.finish("t")["status"] == "completed"
    assert "  0.0 1/0/n2/1 failed n2 (it cannot be injected)" in world.lines


def test_sequential_takes_one_node_after_the_other_through_the_whole_list() -> None:
    world = World(3)
    world.accept("t", orchestration("sequential", step("one", 4), step("two", 3, delay_before_seconds=1)))
    assert world.finish("t")["verdict"] == "passed"
    assert world.timeline("active", "succeeded") == [
        "  0.0 1/0/n1/1 active n1",
        "  4.0 1/0/n1/1 succeeded n1",
        "  5.0 1/1/n1/1 active n1",
        "  8.0 1/1/n1/1 succeeded n1",
        "  8.0 1/0/n2/1 active n2",
        " 12.0 1/0/n2/1 succeeded n2",
        " 13.0 1/1/n2/1 active n2",
        " 16.0 1/1/n2/1 succeeded n2",
        " 16.0 1/0/n3/1 active n3",
        " 20.0 1/0/n3/1 succeeded n3",
        " 21.0 1/1/n3/1 active n3",
        " 24.0 1/1/n3/1 succeeded n3",
    ]


def test_sequential_does_not_move_the_list_of_a_lost_node() -> None:
    world = World(3)
    world.accept("t", orchestration("sequential", step("one", 4), step("two", 3)))
    world.pass_time(5)
    world.nodes["n1"].up = False  # cut off: nothing is known yet, and nothing may start elsewhere
    world.pass_time(5)
    assert not [line for line in world.lines if "n2" in line]
    world.fail("n1")
    result = world.finish("t")
    assert world.timeline("active", "interrupted", "failed") == [
        "  0.0 1/0/n1/1 active n1",
        "  4.0 1/1/n1/1 active n1",
        " 10.0 1/1/n1/1 interrupted n1 (nodeFailed)",
        " 10.0 1/0/n2/1 active n2",
        " 14.0 1/1/n2/1 active n2",
        " 17.0 1/0/n3/1 active n3",
        " 21.0 1/1/n3/1 active n3",
        " 24.0 task failed failed",
    ]
    assert result["outcomes"] == {"interrupted": 1, "succeeded": 2}


def test_leader_assigned_gives_each_step_to_the_least_loaded_node() -> None:
    world = World(3)
    world.accept("a", orchestration("leaderAssigned", step("one", 10)))
    world.accept("b", orchestration("leaderAssigned", step("one", 10), step("two", 5)))
    world.finish("b")
    assert world.timeline("active") == [
        "  0.0 1/0/n1/1 active n1",
        "  0.0 1/0/n2/1 active n2",
        " 10.0 1/1/n1/1 active n1",
    ]


def test_leader_assigned_moves_a_lost_step_to_another_node() -> None:
    world = World(3)
    world.accept("t", orchestration("leaderAssigned", step("one", 10), step("two", 5)))
    world.pass_time(3)
    world.fail("n1")
    assert world.finish("t")["verdict"] == "passed"
    assert world.timeline("active", "interrupted", "succeeded") == [
        "  0.0 1/0/n1/1 active n1",
        "  3.0 1/0/n1/1 interrupted n1 (nodeFailed)",
        "  3.0 1/0/n2/2 active n2",
        " 13.0 1/0/n2/2 succeeded n2",
        " 13.0 1/1/n2/1 active n2",
        " 18.0 1/1/n2/1 succeeded n2",
    ]


def test_leader_assigned_prefers_another_node_to_the_one_that_lost_it() -> None:
    world = World(3)
    world.accept("t", orchestration("leaderAssigned", step("one", 10)))
    world.pass_time(3)
    world.restart("n1")
    world.finish("t")
    assert world.timeline("interrupted", "active")[1:] == [
        "  3.0 1/0/n1/1 interrupted n1 (peerRestarted)",
        "  3.0 1/0/n2/2 active n2",
    ]


def test_leader_assigned_gives_up_after_its_retries() -> None:
    world = World(3)
    world.accept("t", orchestration("leaderAssigned", step("one", 10, retries=1), step("two", 5)))
    world.pass_time(1)
    world.fail("n1")
    world.pass_time(1)
    world.fail("n2")
    result = world.finish("t")
    assert result["status"] == "failed"
    assert result["reason"] == "stepFailed: the step 'one' was lost on n2: nodeFailed"
    assert len(result["runs"]) == 2


def test_leader_assigned_without_any_node_is_skipped_in_time() -> None:
    world = World(2)
    world.accept("t", orchestration("leaderAssigned", step("one", 10, retries=0)))
    for name in ("n1", "n2"):
        world.fail(name)
    result = world.finish("t", 20)
    assert result["status"] == "failed"
    assert "nobody asked for it in time" in result["reason"]


def test_peer_to_peer_the_first_in_the_log_takes_it() -> None:
    world = World(3)
    world.accept("t", orchestration("peerToPeer", step("one", 10), targets=TargetRule(count=2)))
    world.plan()
    runs = world.state.runs_of("t")
    assert [str(run.id) for run in runs] == ["t/1/0/*/1", "t/1/0/*/2"]
    assert world.start(runs[0], "n3")["granted"]
    assert not world.start(runs[0], "n2")["ok"]
    assert not world.start(runs[1], "n3")["ok"]  # it has one of this step already
    assert world.start(runs[1], "n2")["granted"]
    result = world.finish("t")
    assert result["verdict"] == "passed"
    assert {name: node["outcome"] for name, node in result["nodes"].items()} == {
        "n1": "notReached",
        "n2": "succeeded",
        "n3": "succeeded",
    }


def test_peer_to_peer_offers_again_what_its_taker_lost() -> None:
    world = World(3)
    world.accept("t", orchestration("peerToPeer", step("one", 10), targets=TargetRule(count=2)))
    world.pass_time(3)
    world.fail("n1")
    assert world.finish("t")["verdict"] == "passed"
    assert world.timeline("active", "interrupted", "succeeded") == [
        "  0.0 1/0/*/1 active n1",
        "  0.0 1/0/*/2 active n2",
        "  3.0 1/0/*/1 interrupted n1 (nodeFailed)",
        "  3.0 1/0/*/3 active n3",
        " 10.0 1/0/*/2 succeeded n2",
        " 13.0 1/0/*/3 succeeded n3",
    ]


def test_peer_to_peer_an_offer_that_nobody_takes_is_skipped_in_time() -> None:
    world = World(2)
    world.accept("t", orchestration("peerToPeer", step("one", 10), step("two", 5)))
    for node in world.nodes.values():
        node.asks = False
    result = world.finish("t", 20)
    assert result["status"] == "failed"
    assert [item["status"] for item in result["steps"]] == ["skipped", "notReached"]


def test_pause_cuts_a_run_short_and_resume_gives_it_the_time_that_is_left() -> None:
    world = World(1)
    world.accept("t", orchestration("parallel", step("one", 10)))
    world.pass_time(4)
    world.must(c.PauseTask("t"))
    world.pass_time(20)
    world.must(c.ResumeTask("t"))
    assert world.finish("t")["verdict"] == "passed"
    assert world.timeline("active", "interrupted", "succeeded") == [
        "  0.0 1/0/n1/1 active n1",
        "  4.0 1/0/n1/1 interrupted n1 (paused)",
        " 24.0 1/0/n1/2 active n1",
        " 30.0 1/0/n1/2 succeeded n1",
    ]


def test_a_paused_task_ends_at_its_deadline() -> None:
    world = World(1)
    world.accept("t", orchestration("parallel", step("one", 10), deadline_seconds=30))
    world.pass_time(4)
    world.must(c.PauseTask("t"))
    result = world.finish("t", 40)
    assert (result["status"], result["verdict"]) == ("failed", "failed")
    assert result["reason"].startswith("deadline: ")


def test_a_task_that_waits_for_the_limits_of_another_is_not_skipped() -> None:
    world = World(3)
    one_node = SafetyLimits(max_nodes=1)
    world.accept("a", orchestration("leaderAssigned", step("one", 20), limits=one_node))
    world.accept("b", orchestration("leaderAssigned", step("one", 5)))
    world.finish("a")
    result = world.finish("b")
    assert result["verdict"] == "passed"
    assert world.timeline("active") == ["  0.0 1/0/n1/1 active n1", " 20.0 1/0/n2/1 active n2"]

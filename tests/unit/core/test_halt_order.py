"""A node obeys a halt before the log has it: its report may come first, and the task is halted all the same."""

from __future__ import annotations

from raftchaos import limits
from raftchaos.core import commands as c
from raftchaos.core import reasons
from tests.unit.core.core_world import World, orchestration, step


def halted_on_its_node() -> World:
    """A run has been ended for a halt that the log does not have."""
    world = World(2)
    world.accept("t", orchestration("sequential", step("one", 30), step("two", 30)))
    world.pass_time(1)
    (run,) = [run for run in world.state.runs.values() if run.live]
    world.must(c.RunFinished(str(run.id), run.node, run.incarnation, "interrupted", reasons.HALTED))
    return world


def test_the_halt_that_follows_ends_the_task_as_halted() -> None:
    world = halted_on_its_node()
    world.pass_time(limits.HALT_FOLLOWS / 2)
    assert not [run for run in world.state.runs.values() if run.live], "nothing starts meanwhile"
    world.must(c.Halt("h", "smoke", "n1"))
    assert world.finish("t")["status"] == "halted"


def test_without_one_the_step_was_lost() -> None:
    world = halted_on_its_node()
    ended = world.finish("t")
    assert ended["status"] == "failed"
    assert "halt" in ended["reason"]

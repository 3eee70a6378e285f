"""A saved state: believed only whole, and the beginning of a new cluster."""

from __future__ import annotations

import dataclasses

import pytest

from raftchaos.core import commands as c
from raftchaos.core.backup import Backup, decode, encode
from raftchaos.core.history import load
from raftchaos.core.interfaces import Entry
from raftchaos.core.invariants import check
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.restoration import REASON, restored
from raftchaos.model.resolved import TargetRule
from raftchaos.model.tasks import TaskStatus
from tests.unit.core.core_world import START_MS, World, orchestration, step

SAVED = Backup("cluster", "n1", "0.1.0", 7, START_MS, b"state")


def busy_world() -> World:
    """Tasks that are done, stuck, recovering, paused, pending and running; nodes that are drained and failed."""
    world = World(4)
    world.accept("done", orchestration("parallel", step("one", 5)))
    world.finish("done")
    world.nodes["n1"].stuck = True
    world.accept("stuck", orchestration("sequential", targets=TargetRule(names=("n1",))))
    world.finish("stuck")
    world.accept("paused", orchestration("leaderAssigned", step("one", 30)))
    world.pass_time(3)
    world.must(c.PauseTask("paused"))
    world.accept("going", orchestration("leaderAssigned", step("one", 30)))
    world.settle()
    world.accept("cancelled", orchestration("parallel", step("one", 30), targets=TargetRule(names=("n2",))))
    world.settle()
    world.must(c.CancelTask("cancelled", "enough"))
    world.accept("offered", orchestration("peerToPeer", step("one", 30), targets=TargetRule(count=2)))
    world.fail("n4")
    world.must(c.DrainNode("n3", True))
    return world


def test_a_backup_is_what_was_saved() -> None:
    assert decode(encode(SAVED)) == SAVED


def test_every_cut_and_every_flipped_byte_is_noticed() -> None:
    data = encode(SAVED)
    for place in range(len(data)):
        with pytest.raises(ValueError):
            decode(data[:place])
        with pytest.raises(ValueError):
            decode(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(ValueError, match="grew"):
        decode(data + b"x")
    with pytest.raises(ValueError, match="no backup"):
        decode(b"")


def test_fields_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="wrong kind"):
        decode(encode(dataclasses.replace(SAVED, index="7")))  # type: ignore[arg-type]


def test_a_restored_state_is_sound_and_nothing_of_the_old_peers_goes_on() -> None:
    world = busy_world()
    before = world.machine
    begin = restored(before.snapshot(), world.now_ms)
    assert begin.index == before.applied_index + 1
    assert set(begin.ended) == set(before.state.tasks)
    assert set(begin.dropped) == {"n1", "n2", "n3", "n4"}
    machine = ReplicatedState()
    machine.restore(begin.state)
    state = machine.state
    assert check(state) == []
    assert (machine.applied_index, state.tasks, state.runs, state.nodes, state.unrecovered) == (
        begin.index, {}, {}, {}, {},
    )  # fmt: skip
    ended = {task: load(data) for task, data in state.finished.items()}
    for task in ("paused", "going", "offered"):
        assert (ended[task]["status"], ended[task]["reason"]) == (str(TaskStatus.HALTED), REASON), task
    assert ended["cancelled"]["status"] == str(TaskStatus.CANCELLED), "it was ending as cancelled"
    for task in ("done", "stuck"):
        assert state.finished[task] == before.state.finished[task]


def test_halts_in_force_stay_and_a_new_leader_of_a_low_term_is_heard() -> None:
    world = busy_world()
    world.must(c.Halt("smoke", "smoke", "n2"))
    machine = ReplicatedState()
    machine.restore(restored(world.machine.snapshot(), world.now_ms).state)
    assert set(machine.state.halts) == {"smoke"}
    started = machine.apply(Entry(machine.applied_index + 1, 1, "", START_MS, c.encode(c.LeaderStarted(1, "n1"))))
    assert started["ok"]
    again = machine.apply(Entry(machine.applied_index + 1, 1, "", START_MS, c.encode(world.registration("n1"))))
    assert again["ok"], "the name is free for a peer with a new data directory"


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(ValueError, match="snapshot"):
        restored(b"no state", 0)

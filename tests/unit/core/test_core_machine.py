"""The state machine: repeats, snapshots, hashes, newer releases, events."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import pytest

from raftchaos import limits
from raftchaos.core import apply as apply_module
from raftchaos.core import commands as c
from raftchaos.core import snapshot
from raftchaos.core.draft import Draft
from raftchaos.core.events import EventLog
from raftchaos.core.interfaces import Entry, StateMachine
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.requests import RequestWindow
from raftchaos.model.events import Event, EventType
from raftchaos.model.resolved import TargetRule
from tests.unit.core.core_world import START_MS, World, orchestration, step


def busy_world() -> World:
    """A state that holds something of everything."""
    world = World(4)
    world.accept("done", orchestration("parallel", step("one", 5)))
    world.finish("done")
    world.nodes["n1"].stuck = True
    world.accept("stuck", orchestration("sequential", targets=TargetRule(names=("n1",))))
    world.finish("stuck")
    world.accept("offered", orchestration("peerToPeer", step("one", 30), targets=TargetRule(count=2)))
    world.accept("paused", orchestration("leaderAssigned", step("one", 30)))
    world.pass_time(3)
    world.must(c.PauseTask("paused"))
    world.must(c.Halt("lifted", "x", "n1"))
    world.must(c.Resume(["lifted"]))
    world.accept("going", orchestration("leaderAssigned", step("one", 30)))
    world.settle()
    world.fail("n4")
    world.must(c.DrainNode("n3", True))
    world.must(c.Halt("h", "smoke", "n2"))
    return world


def test_it_is_what_the_log_drives() -> None:
    machine: StateMachine = ReplicatedState()
    assert isinstance(machine, ReplicatedState)


def test_a_repeated_request_changes_nothing_and_is_answered_the_same() -> None:
    world = World(1)
    world.accept("t", orchestration())
    world.plan()
    ask = c.StartRun("t/1/0/n1/1", "n1", 1, "dir-n1", ["proxy:web"])
    first = world.do(ask, "n1:1:7")
    before = world.state
    again = world.do(ask, "n1:1:7")
    assert first["granted"]
    assert again == {**first, "repeated": True}
    assert world.state is before
    assert world.machine.applied_index == len(world.log)
    assert not world.do(ask, "n1:1:8")["ok"]


def test_a_refusal_is_repeated_too() -> None:
    world = World(1)
    world.must(c.Halt("h", "", "n1"))
    assert not world.submit("t", orchestration())["ok"]
    world.must(c.Resume(["h"]))
    assert world.submit("t", orchestration())["code"] == "halted"
    assert not world.state.tasks


def test_requests_of_a_removed_node_are_forgotten() -> None:
    world = World(2)
    world.do(c.UpdateProxies("n1", 1, ["a"]), "n1:1:1")
    world.must(c.RemoveNode("n1"))
    world.must(world.registration("n1", directory="new"))
    assert "repeated" not in world.do(c.UpdateProxies("n1", 1, ["b"]), "n1:1:1")
    assert world.state.nodes["n1"].proxies == ("b",)


def test_the_window_always_remembers_half_and_never_more_than_all() -> None:
    window = RequestWindow()
    for place in range(limits.REQUESTS_REMEMBERED * 2):
        window.remember(f"r{place}", {"ok": True, "n": place})
        assert len(window) <= limits.REQUESTS_REMEMBERED
    newest = limits.REQUESTS_REMEMBERED * 2
    for place in range(newest - limits.REQUESTS_REMEMBERED // 2, newest):
        assert window.find(f"r{place}") == {"ok": True, "n": place}
    assert window.find("r0") is None


def test_the_window_is_bounded_in_bytes() -> None:
    window = RequestWindow()
    for place in range(3000):
        window.remember(f"r{place}", {"ok": False, "error": "x" * 1000})
    older, younger = window.generations()
    assert sum(len(key) + len(value) for key, value in older + younger) <= limits.REQUESTS_BYTES


def test_a_snapshot_gives_back_the_same_state_and_hash() -> None:
    world = busy_world()
    data = world.machine.snapshot()
    other = ReplicatedState()
    other.restore(data)
    assert other.state == world.state
    assert other.snapshot() == data
    assert other.state_hash() == world.machine.state_hash()
    assert other.applied_index == world.machine.applied_index
    assert list(other.state.finished) == list(world.state.finished)


def test_a_restored_replica_goes_on_like_the_others() -> None:
    world = busy_world()
    other = ReplicatedState()
    other.restore(world.machine.snapshot())
    start = len(world.log)
    world.must(c.Resume(["h"]))
    world.must(c.DrainNode("n3", False))
    world.submit("next", orchestration("leaderAssigned"))
    world.pass_time(5)
    for entry in world.log[start:]:
        other.apply(entry)
    assert other.state_hash() == world.machine.state_hash()


def test_entries_that_a_snapshot_holds_are_not_applied_again() -> None:
    world = World(2)
    known = world.do(c.DrainNode("n1", True), "n2:1:1")
    other = ReplicatedState()
    other.restore(world.machine.snapshot())
    assert other.apply(world.log[-1]) == {**known, "repeated": True}
    assert other.apply(world.log[0])["code"] == "outcome-unknown"
    assert other.state_hash() == world.machine.state_hash()


def test_the_snapshot_is_small_and_the_hash_is_kept() -> None:
    world = busy_world()
    assert len(world.machine.snapshot()) < 20_000
    assert world.machine.state_hash() is world.machine.state_hash()
    before = world.machine.state_hash()
    world.must(c.Resume(["h"]))
    assert world.machine.state_hash() != before


def _damaged(index: int, value: Any) -> bytes:
    parts = msgpack.unpackb(busy_world().machine.snapshot())
    parts[index] = value
    return bytes(msgpack.packb(parts))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\xc1",
        msgpack.packb({}),
        msgpack.packb(["raftchaos-state"]),
        msgpack.packb(["something-else", 1]),
        msgpack.packb(["raftchaos-state", 0]),
        msgpack.packb(["raftchaos-state", 1, 2, 3]),
    ],
)
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    machine = ReplicatedState()
    with pytest.raises(ValueError):
        machine.restore(data)
    assert machine.applied_index == 0


@pytest.mark.parametrize("index", range(15))
@pytest.mark.parametrize("value", [None, -1, "x", [1], [[]], [{}], [["x"]], b"123", 2**63, True, 1.5])
def test_a_damaged_part_is_refused_and_changes_nothing(index: int, value: Any) -> None:
    place = index + 2
    if value in {13: (["x"],), 4: ("x",)}.get(place, ()):
        return  # another believable value
    world = World(1)
    before = world.machine.state_hash()
    with pytest.raises(ValueError):
        world.machine.restore(_damaged(place, value))
    assert world.machine.state_hash() == before


def test_every_cut_of_a_snapshot_is_refused() -> None:
    data = busy_world().machine.snapshot()
    for size in range(0, len(data), 97):
        with pytest.raises(ValueError):
            snapshot.unpack(data[:size])


def test_a_snapshot_that_contradicts_itself_is_refused() -> None:
    world = busy_world()
    run = next(iter(world.state.runs.values()))
    lonely = world.state.with_(tasks={}, runs={run.id: run})
    data = snapshot.pack(snapshot.Snapshot(5, lonely, RequestWindow()))
    with pytest.raises(ValueError, match="belongs to no unfinished task"):
        snapshot.unpack(data)


def test_a_command_of_a_newer_release_stops_the_peer_and_changes_nothing() -> None:
    world = World(1)
    before, index = world.state, world.machine.applied_index
    unknown = bytes(msgpack.packb([1, "teleportNode", {"name": "n1"}]))
    result = world.machine.apply(Entry(index + 1, 1, "r1", START_MS, unknown))
    assert not result["ok"]
    assert "teleportNode" in world.machine.incompatible
    assert "upgrade" in world.machine.incompatible
    world.machine.apply(Entry(index + 2, 1, "r2", START_MS, c.encode(c.DrainNode("n1", True))))
    assert world.state is before
    assert world.machine.applied_index == index


@pytest.mark.parametrize("data", [b"", b"\xc1\xff", b"\x01", msgpack.packb([1, "drainNode", {"name": "x"}])])
def test_what_is_no_command_is_answered_and_passed_over(data: bytes) -> None:
    world = World(1)
    index = world.machine.applied_index + 1
    result = world.machine.apply(Entry(index, 1, "r", START_MS, data))
    assert result["code"] == "usage"
    assert world.machine.applied_index == index
    assert not world.machine.incompatible


def test_a_defect_is_answered_alike_everywhere_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_draft: Draft, _command: c.DrainNode) -> dict[str, Any]:
        raise ZeroDivisionError("oops")

    machine = World(1).machine
    before = machine.state
    monkeypatch.setitem(apply_module.HANDLERS, c.DrainNode, broken)
    result = machine.apply(Entry(machine.applied_index + 1, 1, "r", START_MS, c.encode(c.DrainNode("n1", True))))
    assert result["code"] == "internal"
    assert machine.state is before
    assert "oops" in machine.defects[-1]


def test_events_tell_what_happened_in_order() -> None:
    world = World(1)
    world.accept("t", orchestration("parallel", step("one", 5)))
    world.finish("t")
    events = world.machine.events.after(0, 0)
    places = [(event.index, event.number) for event in events]
    assert places == sorted(set(places))
    kinds = [str(event.type) for event in events if event.task == "t"]
    assert kinds == ["taskSubmitted", "taskStatus", *["runStatus"] * 4, "taskStatus"]
    assert events[-1].data == {"from": "running", "to": "completed", "reason": "", "verdict": "passed"}
    json.dumps([event.to_dict() for event in events])


def test_the_event_log_knows_what_it_no_longer_has() -> None:
    log = EventLog(kept=3)
    log.add(Event(index, 0, EventType.HALTED, 0) for index in range(1, 6))
    assert log.floor == (2, 0)
    assert [event.index for event in log.after(3, 0)] == [4, 5]
    assert log.last == (5, 0)
    log.restart(9)
    assert log.after(0, 0) == []
    assert log.floor > (9, 0)


def test_a_subscriber_that_raises_is_ended_and_told() -> None:
    world = World(1)
    seen: list[Event] = []

    def broken(_event: Event) -> None:
        raise KeyError("mine")

    world.machine.events.subscribe(broken)
    cancel = world.machine.events.subscribe(seen.append)
    entry = Entry(world.machine.applied_index + 1, 1, "", START_MS, c.encode(c.Halt("h", "", "n1")))
    world.machine.apply(entry)
    assert len(seen) == 1
    assert "KeyError" in world.machine.defects[-1]
    cancel()
    world.machine.apply(entry._replace(index=entry.index + 1, command=c.encode(c.Resume(["h"]))))
    assert len(seen) == 1


_REPLAY = """
import sys
from raftchaos.core.interfaces import Entry
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.planner import plan
from raftchaos.core.commands import encode
import hashlib, msgpack
machine = ReplicatedState()
seen = hashlib.sha256()
for item in msgpack.unpackb(sys.stdin.buffer.read()):
    entry = Entry(*item)
    seen.update(msgpack.packb(machine.apply(entry)))
    for command in plan(machine.state, entry.wall_ms):
        seen.update(encode(command))
for event in machine.events.after(0, 0):
    seen.update(repr(event).encode())
print(machine.state_hash(), seen.hexdigest())
"""


def test_the_same_log_gives_the_same_state_answers_plans_and_events_with_any_hash_seed() -> None:
    log = bytes(msgpack.packb([list(entry) for entry in busy_world().log]))
    root = Path(__file__).resolve().parents[3]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _REPLAY],
            input=log,
            capture_output=True,
            check=True,
            timeout=60,
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 2


def test_states_are_never_changed_once_they_are_published() -> None:
    world = World(3)
    kept: list[tuple[Any, Any]] = []
    world.accept("t", orchestration("peerToPeer", step("one", 5), targets=TargetRule(count=2)))
    for _ in range(20):
        kept.append((world.state, _copy(world.state)))
        world.now_ms += 500
        world.settle()
    world.must(c.Halt("h", "", "n1"))
    for state, copy in kept:
        assert _copy(state) == copy


def _copy(state: Any) -> dict[str, Any]:
    return {
        item.name: dict(value) if isinstance(value := getattr(state, item.name), dict) else value
        for item in dataclasses.fields(state)
    }

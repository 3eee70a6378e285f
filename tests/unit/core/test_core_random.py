"""Random lives of a cluster: whatever happens, the invariants hold after each command, no run is granted twice, and
every accepted task ends once the trouble is over. And: no command that can be decoded makes `apply` raise."""

from __future__ import annotations

import dataclasses
import random
import typing
from collections import Counter
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from raftchaos.core import commands as c
from raftchaos.core.interfaces import Entry
from raftchaos.core.invariants import check
from raftchaos.core.machine import ReplicatedState
from raftchaos.model.nodes import NodeStatus
from raftchaos.model.resolved import OnNoTargets, SafetyLimits, TargetRule
from raftchaos.model.runs import RunStatus
from raftchaos.model.tasks import FINAL, TaskStatus
from tests.unit.core.core_world import START_MS, World, orchestration, step

NODES = ("n1", "n2", "n3", "n4")
MODES = ("parallel", "sequential", "leaderAssigned", "peerToPeer")

names = st.sampled_from(NODES)
documents = st.builds(
    lambda mode, steps, limit, count: orchestration(
        mode,
        *steps,
        limits=SafetyLimits(max_nodes=limit),
        targets=TargetRule(count=count),
        deadline_seconds=60.0,
    ),
    st.sampled_from(MODES),
    st.lists(
        st.builds(
            lambda seconds, delay, go_on, retries: step(
                "s", seconds, delay_before_seconds=delay, continue_on_failure=go_on, retries=retries
            ),
            st.sampled_from([1.0, 4.0, 9.0]),
            st.sampled_from([0.0, 0.0, 2.0]),
            st.booleans(),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([None, None, 1, 2, 3]),
    st.sampled_from([None, 1, 2]),
)


class ClusterLife(RuleBasedStateMachine):
    """Four nodes, trouble, and then peace."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(len(NODES))
        self.world.machine.events.subscribe(self.note)
        self.grants: Counter[str] = Counter()
        self.accepted: list[str] = []
        self.count = 0

    @initialize(first=documents, second=documents)
    def two_tasks(self, first: Any, second: Any) -> None:
        self.submit(first)
        self.submit(second)

    def note(self, event: Any) -> None:
        if event.run and event.data["to"] == str(RunStatus.GRANTED):
            self.grants[event.run] += 1

    def a_task(self, choice: int) -> str | None:
        tasks = sorted(self.world.state.tasks)
        return tasks[choice % len(tasks)] if tasks else None

    @rule(document=documents)
    def submit(self, document: Any) -> None:
        self.count += 1
        task = f"t{self.count}"
        if self.world.submit(task, document)["ok"]:
            self.accepted.append(task)

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 9.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule()
    def the_leader_plans(self) -> None:
        self.world.plan()

    @rule(name=names)
    def is_cut_off(self, name: str) -> None:
        self.world.nodes[name].up = False

    @rule(name=names)
    def fails(self, name: str) -> None:
        if name in self.world.state.nodes and self.world.state.nodes[name].status is not NodeStatus.FAILED:
            self.world.fail(name)

    @rule(name=names)
    def comes_back(self, name: str) -> None:
        self.world.nodes[name].up = True
        record = self.world.state.nodes.get(name)
        if record and record.status is NodeStatus.FAILED:
            self.world.back(name)

    @rule(name=names)
    def restarts(self, name: str) -> None:
        if name in self.world.state.nodes:
            self.world.restart(name)

    @rule(name=names, drained=st.booleans())
    def is_drained(self, name: str, drained: bool) -> None:
        self.world.do(c.DrainNode(name, drained))

    @rule(name=names, reasons=st.sampled_from([[], ["late"]]))
    def is_unwell(self, name: str, reasons: list[str]) -> None:
        self.world.do(c.NodeDegraded(self.world.term, name, self.world.nodes[name].incarnation, reasons))

    @rule(name=names)
    def is_removed(self, name: str) -> None:
        if self.world.do(c.RemoveNode(name))["ok"]:
            self.world.nodes[name].up = False

    @rule(name=names)
    def joins_again(self, name: str) -> None:
        if name not in self.world.state.nodes:
            self.world.restart(name)

    @rule(name=names, stuck=st.booleans(), step_number=st.integers(0, 3), touched=st.integers(0, 2))
    def behaves(self, name: str, stuck: bool, step_number: int, touched: int) -> None:
        node = self.world.nodes[name]
        node.stuck, node.fails, node.touched = stuck, {step_number}, touched

    @rule(name=names, asks=st.booleans())
    def is_silent(self, name: str, asks: bool) -> None:
        self.world.nodes[name].asks = asks

    @rule(choice=st.integers(0, 9), what=st.sampled_from([c.CancelTask, c.PauseTask, c.ResumeTask]))
    def a_user_changes_a_task(self, choice: int, what: Any) -> None:
        task = self.a_task(choice)
        if task:
            self.world.do(what(task))

    @rule(halt=st.sampled_from(["h1", "h2"]))
    def halts(self, halt: str) -> None:
        self.world.do(c.Halt(f"{halt}-{self.count}", "trouble", "n1"))

    @precondition(lambda self: self.world.state.halts)
    @rule()
    def resumes(self) -> None:
        self.world.do(c.Resume(sorted(self.world.state.halts)))

    @rule(skew=st.sampled_from([-5000, 0, 20_000]))
    def a_new_leader(self, skew: int) -> None:
        world = self.world
        world.now_ms += skew
        world.term += 1
        world.must(c.LeaderStarted(world.term, f"n{world.term % 4 + 1}"))

    @rule(choice=st.integers(0, 99), name=names, status=st.sampled_from(["succeeded", "interrupted", "failed"]))
    def a_stray_report(self, choice: int, name: str, status: str) -> None:
        runs = sorted(self.world.state.runs)
        if runs:
            run = str(runs[choice % len(runs)])
            self.world.do(c.RunFinished(run, name, self.world.nodes[name].incarnation, status))

    @rule(choice=st.integers(0, 99), name=names)
    def a_stray_request(self, choice: int, name: str) -> None:
        runs = sorted(self.world.state.runs)
        if runs:
            run = str(runs[choice % len(runs)])
            incarnation = self.world.nodes[name].incarnation
            self.world.do(c.StartRun(run, name, incarnation, f"dir-{name}", ["proxy:web"]))

    @rule()
    def a_snapshot_is_taken_and_restored(self) -> None:
        other = ReplicatedState()
        other.restore(self.world.machine.snapshot())
        assert other.state == self.world.state
        assert other.state_hash() == self.world.machine.state_hash()

    def teardown(self) -> None:
        """The trouble ends: every accepted task must end, and the same log gives the same state elsewhere."""
        world = self.world
        for name in NODES:
            world.nodes[name].asks = True
            world.nodes[name].stuck = False
            world.restart(name)
            world.do(c.DrainNode(name, False))
        world.do(c.Resume(sorted(world.state.halts)))
        waited = 0
        while world.state.tasks:
            world.pass_time(5, tick=1.0)
            waited += 5
            assert waited < 200, f"never ends: {world.state.tasks} {world.state.runs}"
        assert not world.state.runs
        for task in self.accepted:
            assert TaskStatus(world.result(task)["status"]) in FINAL
        assert all(count == 1 for count in self.grants.values()), self.grants
        assert sum(world.state.completed.values()) == len(self.accepted)
        other = ReplicatedState()
        for entry in world.log:
            other.apply(entry)
        assert other.state_hash() == world.machine.state_hash()


ClusterLife.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestClusterLife = pytest.mark.timeout(300)(ClusterLife.TestCase)


def a_document(rng: random.Random) -> Any:
    """A random orchestration that is mostly acceptable."""
    steps = [
        step(
            "s",
            rng.choice([1.0, 4.0, 9.0, 15.0]),
            delay_before_seconds=rng.choice([0.0, 0.0, 2.0]),
            continue_on_failure=rng.random() < 0.3,
            retries=rng.randint(0, 2),
        )
        for _ in range(rng.randint(1, 3))
    ]
    mode = rng.choice(MODES)
    count = rng.choice([None, 1, 2]) if mode != "parallel" else rng.choice([1, 2])
    return orchestration(
        mode,
        *steps,
        limits=SafetyLimits(max_nodes=rng.choice([None, 2, 2, 3])),
        targets=TargetRule(count=count),
        deadline_seconds=rng.choice([30.0, 60.0]),
        seed=rng.randint(0, 99),
    )


def an_action(life: ClusterLife, rng: random.Random) -> None:
    """One random thing that happens; most of the time nothing but time passes."""
    name, choice = rng.choice(NODES), rng.randint(0, 99)
    actions: list[tuple[int, Any]] = [
        (40, lambda: life.time_passes(rng.choice([0.5, 1.0, 1.0, 3.0]))),
        (12, lambda: life.submit(a_document(rng))),
        (6, lambda: life.the_leader_plans()),
        (4, lambda: life.is_cut_off(name)),
        (5, lambda: life.fails(name)),
        (9, lambda: life.comes_back(name)),
        (4, lambda: life.restarts(name)),
        (2, lambda: life.is_drained(name, True)),
        (3, lambda: life.is_drained(name, False)),
        (2, lambda: life.is_unwell(name, ["late"])),
        (4, lambda: life.is_unwell(name, [])),
        (1, lambda: life.is_removed(name)),
        (3, lambda: life.joins_again(name)),
        (2, lambda: life.behaves(name, rng.random() < 0.2, rng.randint(0, 5), rng.randint(0, 2))),
        (2, lambda: life.is_silent(name, rng.random() < 0.7)),
        (2, lambda: life.a_user_changes_a_task(choice, c.CancelTask)),
        (4, lambda: life.a_user_changes_a_task(choice, c.PauseTask)),
        (5, lambda: life.a_user_changes_a_task(choice, c.ResumeTask)),
        (1, lambda: life.halts(rng.choice(["h1", "h2"]))),
        (4, lambda: life.world.state.halts and life.resumes()),
        (2, lambda: life.a_new_leader(rng.choice([-5000, 0, 0, 20_000]))),
        (3, lambda: life.a_stray_report(choice, name, rng.choice(["succeeded", "interrupted", "failed"]))),
        (5, lambda: life.a_stray_request(choice, name)),
        (1, lambda: life.a_snapshot_is_taken_and_restored()),
    ]
    weights = [weight for weight, _ in actions]
    rng.choices(actions, weights)[0][1]()


@pytest.mark.parametrize("seed", range(60))
def test_a_random_life_ends_well(seed: int) -> None:
    rng = random.Random(seed)
    life = ClusterLife()
    life.submit(a_document(rng))
    for _ in range(80):
        an_action(life, rng)
    life.teardown()
    assert life.accepted


# ---- no command makes apply raise

_GARBAGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.floats(),
    st.text(max_size=6),
    st.binary(max_size=4),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.one_of(st.text(max_size=3), st.integers(0, 3)), st.integers(0, 3), max_size=2),
)
_RUNS = st.builds(
    lambda task, place, node, attempt: f"{task}/1/{place}/{node}/{attempt}",
    st.sampled_from(["a", "b", "gone"]),
    st.integers(-1, 2),
    st.sampled_from(["n1", "n2", "*", "x"]),
    st.integers(0, 3),
)
_TEXT = st.sampled_from(
    ["a", "b", "c", "n1", "n2", "dir-n1", "failed", "succeeded", "recoveryFailed", "h", "", "x" * 600]
)
_DOCUMENTS = st.one_of(
    documents.map(lambda document: document.to_dict()),
    st.builds(
        lambda document, key, value: {**document.to_dict(), key: value},
        documents,
        st.sampled_from(["mode", "steps", "targets", "limits", "deadlineSeconds", "seed", "name", "onNoTargets"]),
        _GARBAGE,
    ),
    st.just(orchestration(targets=TargetRule(selector={"a": "b"}), on_no_targets=OnNoTargets.SKIP).to_dict()),
    st.dictionaries(st.text(max_size=4), _GARBAGE, max_size=2),
)
_BY_NAME = {
    "run": _RUNS,
    "orchestration": _DOCUMENTS,
    "incarnation": st.integers(0, 3),
    "term": st.integers(0, 3),
    "status": st.sampled_from([str(status) for status in RunStatus]),
    "node": st.sampled_from(["n1", "n2", "x"]),
    "name": st.sampled_from(["n1", "n2", "n3", "*"]),
    "runs": st.lists(st.tuples(_RUNS, st.floats(-1, 100)), max_size=3),
    "effects": st.lists(st.dictionaries(st.text(max_size=20), st.integers(-1, 9), max_size=3), max_size=3),
    "directory": st.just("dir-n1"),
    "id": st.one_of(_TEXT, st.sampled_from(["0" * 16, "1" * 16])),
    "role": st.sampled_from(["viewer", "admin", "open"]),
    "fingerprint": st.sampled_from([letter * 64 for letter in "abc"]),
    "issuer": st.sampled_from([letter * 64 for letter in "abc"]),
    "trusts": st.lists(st.sampled_from([letter * 64 for letter in "abc"]), max_size=3),
}
_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: _TEXT,
    int: st.integers(0, 3),
    bool: st.booleans(),
    float: st.floats(-1, 100),
    bytes: st.sampled_from([bytes(32), b"", b"x" * 32]),
    list[str]: st.lists(_TEXT, max_size=3),
    dict[str, str]: st.dictionaries(_TEXT, _TEXT, max_size=2),
}


@st.composite
def encoded(draw: st.DrawFn) -> bytes:
    """The bytes of a command, most of its fields plausible, some of them anything."""
    kind = draw(st.sampled_from(sorted(c.KINDS)))
    hints = typing.get_type_hints(c.KINDS[kind])
    fields: dict[str, Any] = {}
    for item in dataclasses.fields(c.KINDS[kind]):
        plausible = _BY_NAME[item.name] if item.name in _BY_NAME else _BY_TYPE[hints[item.name]]
        fields[item.name] = draw(_GARBAGE if draw(st.integers(0, 24)) == 0 else plausible)
    callers = [["ci", "admin", "", "token:" + "0" * 16], ["root", "admin", "", "socket"], None, 7]
    try:
        return bytes(msgpack.packb([c.VERSION, kind, fields, *draw(st.lists(st.sampled_from(callers), max_size=1))]))
    except OverflowError:
        return b""


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(encoded(), min_size=1, max_size=40))
def test_apply_never_raises_and_never_breaks_a_rule(commands: list[bytes]) -> None:
    world = World(2)
    world.accept("a", orchestration("parallel", step("one", 5), step("two", 5)))
    world.accept("b", orchestration("peerToPeer", step("one", 5)))
    world.pass_time(1)
    machine = world.machine
    for place, data in enumerate(commands):
        entry = Entry(len(world.log) + 1 + place, world.term, "", START_MS + place * 100, data)
        result = machine.apply(entry)
        assert isinstance(result["ok"], bool)
        assert result["ok"] or (result["code"] and result["error"])
        msgpack.packb(result)
        assert not machine.defects, machine.defects
        assert check(machine.state) == []
    other = ReplicatedState()
    other.restore(machine.snapshot())
    assert other.state_hash() == machine.state_hash()

"""A cluster as the decisions see it: the state machine, a leader that plans, nodes that ask, run and report.

Time is a number. Everything goes through `ReplicatedState.apply` as encoded commands, and after each of them the
invariants are checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from raftchaos.core import commands as c
from raftchaos.core.history import load
from raftchaos.core.interfaces import Entry
from raftchaos.core.invariants import check
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.planner import plan
from raftchaos.model.nodes import NodeStatus
from raftchaos.model.resolved import (
    CoordinationMode,
    ResolvedFault,
    ResolvedOrchestration,
    ResolvedStep,
    SafetyLimits,
    TargetRule,
)
from raftchaos.model.runs import ANY_NODE, Run, RunId, RunStatus

START_MS = 1_700_000_000_000
CAN = ["latency", "http_error", "reset_peer"]


def step(name: str, seconds: float = 10.0, **changes: Any) -> ResolvedStep:
    """A step that slows the proxy web."""
    faults = changes.pop("faults", (ResolvedFault("latency", {"proxy": ["web"], "latencyMs": 100.0}),))
    return ResolvedStep(name, "latency", faults, seconds, **changes)


def orchestration(mode: str = "parallel", *steps: ResolvedStep, **changes: Any) -> ResolvedOrchestration:
    """An orchestration of these steps (one by default) on all nodes."""
    values: dict[str, Any] = {
        "name": "test",
        "mode": CoordinationMode(mode),
        "targets": TargetRule(),
        "steps": steps or (step("one"),),
        "limits": SafetyLimits(),
        "deadline_seconds": 600.0,
        "seed": 7,
    }
    return ResolvedOrchestration(**{**values, **changes})


@dataclass
class SimNode:
    """What a node knows beside the state."""

    incarnation: int = 1
    up: bool = True
    """Whether it talks to anybody."""
    asks: bool = True
    fails: set[int] = field(default_factory=set)
    """Steps whose fault fails here."""
    stuck: bool = False
    """Whether it cannot take faults back."""
    touched: int = 5
    asked: dict[RunId, int] = field(default_factory=dict)
    """When it last asked for a run and was refused."""


class World:
    """A state machine with a log, a clock, a leader and nodes."""

    def __init__(self, nodes: int = 3, *, proxies: tuple[str, ...] = ("web",), check_all: bool = True) -> None:
        self.machine = ReplicatedState()
        self.log: list[Entry] = []
        self.now_ms = START_MS
        self.term = 1
        self.check_all = check_all
        self.nodes: dict[str, SimNode] = {}
        self.lines: list[str] = []
        self.machine.events.subscribe(self._note)
        self.do(c.LeaderStarted(1, "n1"))
        for place in range(nodes):
            self.add_node(f"n{place + 1}", proxies)

    @property
    def state(self) -> Any:
        return self.machine.state

    # ---- commands

    def do(self, command: c.Command, request_id: str = "") -> dict[str, Any]:
        """Append a command, and check that the state is sound."""
        entry = Entry(len(self.log) + 1, self.term, request_id, self.now_ms, c.encode(command))
        self.log.append(entry)
        result = self.machine.apply(entry)
        assert not self.machine.defects, list(self.machine.defects)
        if self.check_all:
            assert check(self.state) == [], (command, check(self.state))
        return result

    def must(self, command: c.Command) -> dict[str, Any]:
        """Append a command that is not refused."""
        result = self.do(command)
        assert result["ok"], result
        return result

    def add_node(self, name: str, proxies: tuple[str, ...] = ("web",), **labels: str) -> None:
        """Register a node for the first time."""
        self.nodes[name] = SimNode()
        self.must(self.registration(name, proxies=list(proxies), labels=labels))

    def registration(self, name: str, **changes: Any) -> c.RegisterNode:
        """What a node sends when it starts."""
        node = self.nodes.get(name, SimNode())
        values: dict[str, Any] = {
            "name": name,
            "incarnation": node.incarnation,
            "directory": f"dir-{name}",
            "raft_address": f"{name}:7481",
            "api_address": f"{name}:7480",
            "capabilities": CAN,
            "proxies": ["web"],
        }
        return c.RegisterNode(**{**values, **changes})

    def restart(self, name: str) -> None:
        """The peer is started again, after a kill at any moment."""
        node = self.nodes[name]
        node.incarnation += 1
        node.up, node.stuck = True, False
        self.must(self.registration(name))

    def fail(self, name: str) -> None:
        """The node is cut off, and the leader has seen it for long enough."""
        self.nodes[name].up = False
        self.must(c.NodeFailed(self.term, name, self.nodes[name].incarnation))

    def back(self, name: str) -> None:
        """The cut is over."""
        self.nodes[name].up = True
        self.must(c.NodeActive(self.term, name, self.nodes[name].incarnation))

    def submit(self, task: str, document: ResolvedOrchestration) -> dict[str, Any]:
        """Submit an orchestration."""
        return self.do(c.SubmitTask(task, document.to_dict()), f"task:{task}")

    def accept(self, task: str, document: ResolvedOrchestration) -> None:
        """Submit an orchestration that is accepted."""
        result = self.submit(task, document)
        assert result["ok"], result

    def start(self, run: Run | RunId | str, name: str) -> dict[str, Any]:
        """A node asks for a run."""
        found = run if isinstance(run, Run) else self.run(str(run))
        step_of = self.state.tasks[found.id.task].orchestration.steps[found.id.step]
        named = [proxy for fault in step_of.faults for proxy in fault.parameters.get("proxy", ())]
        targets = [f"proxy:{proxy}" for proxy in named or self.state.nodes[name].proxies]
        node = self.nodes[name]
        return self.do(c.StartRun(str(found.id), name, node.incarnation, f"dir-{name}", targets))

    def run(self, text: str) -> Run:
        """A run of an unfinished task."""
        return self.state.runs[RunId.parse(text)]

    def result(self, task: str) -> dict[str, Any]:
        """A finished task."""
        return load(self.state.finished[task])

    # ---- time

    def plan(self) -> int:
        """The leader plans once; returns how many commands it proposed, all of which must be acceptable."""
        found = plan(self.state, self.now_ms)
        assert found == plan(self.state, self.now_ms)
        for command in found:
            self.must(command)
        return len(found)

    def settle(self) -> None:
        """Plan and let the nodes act until nothing more happens at this instant."""
        for _ in range(100):
            before = self.state
            planned = self.plan()
            acted = [self._act(name) for name in sorted(self.nodes)]
            if not planned and not any(acted) and before == self.state:
                return
        raise AssertionError("it never settles")

    def pass_time(self, seconds: float, tick: float = 0.5) -> None:
        """Let time pass, in ticks."""
        end = self.now_ms + int(seconds * 1000)
        self.settle()
        while self.now_ms < end:
            self.now_ms = min(self.now_ms + int(tick * 1000), end)
            self.settle()

    def finish(self, task: str, seconds: float = 700.0) -> dict[str, Any]:
        """Let time pass until a task has ended."""
        end = self.now_ms + int(seconds * 1000)
        self.settle()
        while task in self.state.tasks:
            assert self.now_ms < end, f"the task {task} never ends: {self.state.runs_of(task)}"
            self.now_ms += 500
            self.settle()
        return self.result(task)

    def _act(self, name: str) -> bool:
        """A node does what an agent does; returns whether it proposed something that changed the state."""
        node = self.nodes[name]
        if not node.up or name not in self.state.nodes:
            return False
        acted = False
        for key in sorted(self.state.runs):
            run = self.state.runs.get(key)
            if run is None:
                continue
            if run.status is RunStatus.PLANNED and run.node in (name, ANY_NODE):
                acted |= self._ask(run, name)
            elif run.node == name and run.live:
                acted |= self._go_on(run, name)
        return acted

    def _ask(self, run: Run, name: str) -> bool:
        record = self.state.nodes[name]
        task = self.state.tasks[run.id.task]
        node = self.nodes[name]
        waiting = self.now_ms - node.asked.get(run.id, 0) < 1000
        if not node.asks or record.status is not NodeStatus.ACTIVE or record.drained or waiting:
            return False
        node.asked[run.id] = self.now_ms
        return name in task.targets and bool(self.start(run, name).get("granted"))

    def _go_on(self, run: Run, name: str) -> bool:
        node = self.nodes[name]
        effect = [{"touched": node.touched}] * len(
            self.state.tasks[run.id.task].orchestration.steps[run.id.step].faults
        )

        def report(status: str, reason: str = "") -> bool:
            return bool(self.must(c.RunFinished(str(run.id), name, node.incarnation, status, reason, effect)))

        if run.status is RunStatus.GRANTED:
            if run.id.step in node.fails:
                return report("failed", "it cannot be injected")
            return bool(self.must(c.RunActive(str(run.id), name, node.incarnation)))
        if run.status is RunStatus.RECOVERING:
            return report("recoveryFailed" if node.stuck else "interrupted", "stuck" if node.stuck else "")
        if self.now_ms - run.active_ms >= run.duration_seconds * 1000:
            return report("recoveryFailed" if node.stuck else "succeeded", "stuck" if node.stuck else "")
        return False

    def _note(self, event: Any) -> None:
        """One line for each change of a run or task: the time-line that tests read."""
        seconds = (event.wall_ms - START_MS) / 1000
        if event.run:
            short = event.run.split("/", 1)[1]
            why = f" ({event.data['reason']})" if event.data["reason"] else ""
            self.lines.append(f"{seconds:5.1f} {short} {event.data['to']} {event.node}{why}")
        elif event.task and "to" in event.data:
            verdict = f" {event.data['verdict']}" if "verdict" in event.data else ""
            self.lines.append(f"{seconds:5.1f} task {event.data['to']}{verdict}")

    def timeline(self, *statuses: str) -> list[str]:
        """The lines, or those of these statuses only."""
        return [line for line in self.lines if not statuses or line.split()[2] in statuses]

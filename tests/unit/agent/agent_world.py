"""Nodes without processes: the real state machine over the log's twin, the real executor over the proxy's twin."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raftchaos.agent.agent import Agent
from raftchaos.agent.halts import LocalHalts
from raftchaos.agent.mailbox import Mailbox
from raftchaos.clock import SystemClock
from raftchaos.consensus.twin import InMemoryNetwork, InMemoryReplica
from raftchaos.core.commands import Command, LeaderStarted, PlanRuns, RegisterNode, SubmitTask, encode
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.meter import NullMeter
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.state import ClusterState
from raftchaos.errors import ProxyUnavailable
from raftchaos.faults import build_faults
from raftchaos.faults.base import Host
from raftchaos.faults.executor import FaultExecutor
from raftchaos.faults.twin import InMemoryProxy
from raftchaos.model.resolved import (
    CoordinationMode,
    ResolvedFault,
    ResolvedOrchestration,
    ResolvedStep,
    SafetyLimits,
    TargetRule,
)
from raftchaos.model.runs import Run, RunId, RunStatus

PATIENCE = 20.0


class ShiftedClock(SystemClock):
    """The real clock, some time later."""

    def __init__(self) -> None:
        self.shift = 0.0

    def boot(self) -> float:
        return super().boot() + self.shift

    def wall(self) -> float:
        return super().wall() + self.shift


class GivenLease:
    """A lease as a test gives it; the reaper knows it too."""

    def __init__(self, clock: ShiftedClock) -> None:
        self._clock = clock
        self.end = 0.0
        self.epoch = 0
        self.standing = True

    @property
    def lease_end(self) -> float:
        return self.end

    def running(self, now: float) -> bool:
        return now < self.end

    def begin(self, seconds: float = 3600.0) -> None:
        self.end, self.epoch = self._clock.boot() + seconds, self.epoch + 1


class StubbornProxy(InMemoryProxy):
    """A proxy process that may not answer for a while."""

    def __init__(self, clock: ShiftedClock) -> None:
        super().__init__(clock)
        self.answers = True
        self.refused = 0

    def _must_answer(self) -> None:
        if not self.answers:
            self.refused += 1
            raise ProxyUnavailable("the proxy process does not answer")

    async def inject(
        self, run: str, fault: str, proxy: str, parameters: Mapping[str, Any], seed: int, lease_end: float
    ) -> None:
        self._must_answer()
        await super().inject(run, fault, proxy, parameters, seed, lease_end)

    async def recover(self, run: str) -> dict[str, int]:
        self._must_answer()
        return await super().recover(run)


class FailureMeter(NullMeter):
    """Counts recoveries that failed."""

    def __init__(self) -> None:
        self.failures = 0

    def recover_failed(self, fault: str) -> None:
        self.failures += 1


class NoSocket:
    """The twin never looks at it."""

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        return


class NodeWorld:
    """One node: replica, halts, executor, agent."""

    def __init__(self, cluster: Cluster, name: str, folder: Path, incarnation: int) -> None:
        self.name, self.folder, self.incarnation = name, folder, incarnation
        folder.mkdir(parents=True, exist_ok=True)
        self.clock = cluster.clock
        self.machine = ReplicatedState()
        self.replica = InMemoryReplica(name, self.machine, cluster.network)
        self.lease = GivenLease(self.clock)
        self.proxy = StubbornProxy(self.clock)
        ids = RequestIds(name, incarnation)
        self.mailbox = Mailbox(self.replica)
        self.halts = LocalHalts(
            folder,
            name=name,
            replicated=self.replica,
            mailbox=self.mailbox,
            state=lambda: self.machine.state,
            request_ids=ids,
            clock=self.clock,
        )
        self.meter = FailureMeter()
        host = Host(proxy=self.proxy, data_dir=folder, meter=self.meter)
        faults = build_faults(host, ("http_error", "latency", "reset_peer"))
        self.executor = FaultExecutor(
            host, node=name, clock=self.clock, reaper=self.lease, proxies=lambda: ["web"], faults=faults
        )
        self.agent = Agent(
            name=name,
            incarnation=incarnation,
            directory=f"dir-{name}",
            replicated=self.replica,
            state=lambda: self.machine.state,
            lease=self.lease,
            executor=self.executor,
            halts=self.halts,
            request_ids=ids,
            clock=self.clock,
        )
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def state(self) -> ClusterState:
        return self.machine.state

    async def start(self) -> None:
        await self.proxy.add_proxy("web", "127.0.0.1:1", "127.0.0.1:2", NoSocket())
        self.tasks = [asyncio.create_task(self.agent.run()), asyncio.create_task(self.halts.run())]

    async def kill(self) -> None:
        """As by SIGKILL: nothing is taken back, nothing is said."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for task in self.tasks:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception() or AssertionError
        self.tasks = []
        self.executor.close()

    def run_of(self, run: RunId) -> Run:
        return self.state.runs[run]

    def lapse(self) -> None:
        self.lease.end = self.clock.boot() - 0.001
        self.agent.on_lapsed(self.lease.epoch)


class Cluster:
    """Some nodes, and a test that plays the leader."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ShiftedClock()
        self.network = InMemoryNetwork(self.clock)
        self.nodes: dict[str, NodeWorld] = {}
        self._ids = itertools.count(1)

    async def add(self, name: str, incarnation: int = 1, *, register: bool = True) -> NodeWorld:
        """A node that has registered and holds a lease."""
        node = self.nodes[name] = NodeWorld(self, name, self.folder / name, incarnation)
        await node.start()
        if len(self.nodes) == 1:
            await self.say(LeaderStarted(1, name))
        if register:
            await self.say(
                RegisterNode(
                    name, incarnation, f"dir-{name}", "h:1", "h:2", {}, ["latency", "http_error"], ["web"], "1"
                )
            )
            node.lease.begin()
            node.agent.on_renewed(node.lease.end, node.lease.epoch)
        return node

    async def say(self, command: Command) -> dict[str, Any]:
        """Put a command into the log by the hand of any live peer."""
        replica = self.network.leader_replica()
        return (await replica.propose(f"test:{next(self._ids)}", encode(command))).result

    async def task(
        self, task: str = "t", *, seconds: float = 600.0, mode: CoordinationMode = CoordinationMode.PARALLEL
    ) -> RunId:
        """A task of one step, planned for the first node (or offered); the id of its run."""
        step = ResolvedStep("slow", "latency", (ResolvedFault("latency", {"latencyMs": 50.0}),), seconds)
        orchestration = ResolvedOrchestration(task, mode, TargetRule(), (step,), SafetyLimits(), 3600.0, 1)
        assert (await self.say(SubmitTask(task, orchestration.to_dict())))["ok"]
        node = "*" if mode is CoordinationMode.PEER_TO_PEER else next(iter(self.nodes))
        run = RunId(task, 1, 0, node, 1)
        runs = [(str(run), seconds)]
        if mode is CoordinationMode.PARALLEL:
            runs = [(str(run._replace(node=name)), seconds) for name in self.nodes]
        answer = await self.say(PlanRuns(1, task, runs))
        assert answer["ok"], answer
        return run

    async def close(self) -> None:
        for node in self.nodes.values():
            await node.kill()


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for something that the parts do by themselves."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the parts tell nobody when they are done
            await asyncio.sleep(0.005)


def status_is(node: NodeWorld, run: RunId, *statuses: RunStatus) -> Callable[[], bool]:
    return lambda: run in node.state.runs and node.state.runs[run].status in statuses

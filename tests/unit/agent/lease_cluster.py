"""Peers of one cluster for the tests of the agent's lease parts: the replicated log in memory and the real `apply`."""

from __future__ import annotations

import asyncio
from typing import Any

from raftchaos import limits
from raftchaos.agent.leader import Leader, Planner
from raftchaos.agent.lease_keeper import LeaseKeeper
from raftchaos.agent.mailbox import Mailbox
from raftchaos.agent.registration import Registration
from raftchaos.consensus.twin import InMemoryNetwork, InMemoryReplica
from raftchaos.core.commands import Command, RegisterNode, decode
from raftchaos.core.interfaces import Outcome
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.state import ClusterState
from raftchaos.errors import NoQuorum, OutcomeUnknown
from tests.unit.agent.virtual_time import VirtualClock


class Replica(InMemoryReplica):
    """The twin, with trouble that it does not make by itself."""

    def __init__(self, name: str, machine: ReplicatedState, network: InMemoryNetwork) -> None:
        super().__init__(name, machine, network)
        self.machine = machine
        self.applying = True
        self.rounds = True
        self.lose_answers = 0
        self.proposals: list[str] = []
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def stop_applying(self) -> None:
        """It sees the leader and its messages, but applies nothing more."""
        self.applying = False

    def go_on_applying(self) -> None:
        self.applying = True
        self._apply()

    def _apply(self) -> None:
        if self.applying:
            super()._apply()

    async def propose(self, request_id: str, command: bytes, *, timeout: float = limits.WRITE_TIMEOUT) -> Outcome:
        self.proposals.append(request_id)
        outcome = await super().propose(request_id, command, timeout=timeout)
        if self.lose_answers:
            self.lose_answers -= 1
            raise OutcomeUnknown("the answer was lost")
        return outcome

    def propose_as_leader(self, request_id: str, command: bytes, term: int) -> bool:
        self.proposals.append(request_id)
        return super().propose_as_leader(request_id, command, term)

    async def confirm_leadership(self, *, timeout: float) -> int:
        if not self.rounds:
            raise NoQuorum("no majority answers")
        return await super().confirm_leadership(timeout=timeout)

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        self.sent.append((peer, message))
        return super().send(peer, message)


class Cluster(InMemoryNetwork):
    """The log of all peers. Nobody leads before the first `elect`."""

    def __init__(self, *names: str) -> None:
        super().__init__(VirtualClock(0))
        self.names = names
        self.logs: dict[str, Replica] = {}
        self.separate()
        for name in names:
            self.logs[name] = Replica(name, ReplicatedState(), self)
        self.separate()
        self.term = 0  # the twin elects as soon as it can

    def separate(self) -> None:
        """Nobody reaches anybody: without a majority nobody leads."""
        self.partition(*([name] for name in self.names))

    def isolate(self, name: str) -> None:
        self.partition([name], [other for other in self.names if other != name])

    def elect(self, name: str) -> None:
        """This peer leads in a new term. Who was separated from everybody is so no more; who was isolated still is."""
        self.leader = None
        if len(self._groups) == len(self.names):
            self._groups = []
        self.settle(leader=name)

    def commands(self, kind: type[Command]) -> list[Any]:
        """What is in the log of this kind, repetitions of a request left out."""
        first = {entry.request_id: decode(entry.command) for entry in reversed(self.log)}
        return [command for command in reversed(first.values()) if isinstance(command, kind)]


class Peer:
    """The lease parts of one peer on its replica."""

    def __init__(self, cluster: Cluster, name: str, plan: Planner = lambda _state, _now_ms: []) -> None:
        self.name = name
        self.log = cluster.logs[name]
        self.clock = VirtualClock(1000.0 + 100 * len(name))
        self.request_ids = RequestIds(name, 1)
        self.unwell: list[str] = []
        self.clean = True
        self.proxies = ["payments"]
        self.directory = f"dir-{name}"
        self.told: list[tuple[str, int]] = []
        self.mailbox = Mailbox(self.log)
        self.keeper = LeaseKeeper(
            log=self.log,
            mailbox=self.mailbox,
            clock=self.clock,
            state=self.state,
            name=name,
            incarnation=1,
            directory=self.directory,
            health=lambda: self.unwell,
        )
        self.leader = Leader(
            log=self.log,
            mailbox=self.mailbox,
            clock=self.clock,
            state=self.state,
            request_ids=self.request_ids,
            plan=plan,
        )
        self.registration = Registration(
            log=self.log, request_ids=self.request_ids, describe=self.describe, clean=lambda: self.clean
        )
        self.keeper.add_listener(self)

    def state(self) -> ClusterState:
        return self.log.machine.state

    def describe(self) -> RegisterNode:
        return RegisterNode(self.name, 1, self.directory, "", "", proxies=list(self.proxies))

    def on_renewed(self, end: float, epoch: int) -> None:
        assert end == self.keeper.lease.end
        if ("renewed", epoch) not in self.told:
            self.told.append(("renewed", epoch))

    def on_lapsed(self, epoch: int) -> None:
        self.told.append(("lapsed", epoch))

    def start(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        return [group.create_task(part.run()) for part in (self.keeper, self.leader, self.registration)]

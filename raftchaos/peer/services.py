"""What the API asks of its peer, answered by the peer's parts. Decides nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raftchaos import limits
from raftchaos._version import VERSION
from raftchaos.agent.abilities import Abilities
from raftchaos.agent.agent import Agent
from raftchaos.agent.halts import LocalHalts
from raftchaos.agent.membership import Membership
from raftchaos.agent.proxies import NodeProxies
from raftchaos.analytics.analyst.process import AnalystProcess
from raftchaos.api.feed import EventFeed
from raftchaos.clock import Clock
from raftchaos.consensus.replica import Replica
from raftchaos.core.admission import admit
from raftchaos.core.backup import Backup
from raftchaos.core.backup import encode as encode_backup
from raftchaos.core.callers import CALLER
from raftchaos.core.commands import CancelTask, Command, DrainNode, PauseTask, Resume, ResumeTask, SubmitTask, encode
from raftchaos.core.interfaces import Outcome, ReplicaStatus
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.request_ids import RequestIds, of_task
from raftchaos.core.service_records import (
    ActiveFault,
    EventId,
    Gap,
    HaltAnswer,
    Health,
    JoinAnswer,
    JoinRequest,
    ProxyRecord,
    SeenFault,
)
from raftchaos.core.services import raise_for_result
from raftchaos.core.state import ClusterState, HaltRecord
from raftchaos.errors import NotFound, Refused
from raftchaos.faults.executor import FaultExecutor
from raftchaos.model.events import Event
from raftchaos.model.resolved import ResolvedOrchestration
from raftchaos.peer.access import Access
from raftchaos.peer.identity import PeerIdentity
from raftchaos.peer.vitals import Vitals


@dataclass
class Services:
    """Implements `core.services.PeerServices`."""

    name: str
    cluster: str
    insecure: bool
    durability: str
    replica: Replica
    machine: ReplicatedState
    agent: Agent
    halts: LocalHalts
    node_proxies: NodeProxies
    membership: Membership
    abilities: Abilities
    executor: FaultExecutor
    feed: EventFeed
    vitals: Vitals
    request_ids: RequestIds
    clock: Clock
    exposition: Callable[[], str]
    """The metrics as text."""
    analyst: AnalystProcess
    """See PeerServices."""
    identity: PeerIdentity | None
    """None with --insecure."""

    def __post_init__(self) -> None:
        self.access = Access(
            self.identity,
            state=lambda: self.machine.state,
            voters=lambda: self.replica.status().quorum.voters,
            write=self._write,
        )
        """See PeerServices."""

    # ---- reads

    @property
    def analytics(self) -> Mapping[str, Any]:
        """What the analyst said last, for the metrics."""
        report = dict(self.analyst.report)
        return {**report, "dropped": {**report.get("dropped", {}), "queue": self.analyst.dropped}}

    @property
    def certificate_end(self) -> float:
        """See PeerServices."""
        return self.identity.valid.ends if self.identity is not None else 0.0

    @property
    def state(self) -> ClusterState:
        """See PeerServices."""
        return self.machine.state

    @property
    def applied_index(self) -> int:
        """See PeerServices."""
        return self.machine.applied_index

    def state_hash(self) -> str:
        """See PeerServices."""
        return self.machine.state_hash()

    def status(self) -> ReplicaStatus:
        """See PeerServices."""
        return self.replica.status()

    def behind(self) -> Mapping[str, int]:
        """See PeerServices."""
        return self.replica.behind()

    def health(self) -> Health:
        """See PeerServices."""
        return self.vitals.health()

    def active_faults(self) -> Sequence[ActiveFault]:
        """See PeerServices."""
        return self.agent.active_faults()

    async def seen_faults(self) -> Sequence[SeenFault]:
        """See PeerServices."""
        return await self.executor.inventory()

    @property
    def unable(self) -> Mapping[str, str]:
        """See PeerServices."""
        return self.executor.unable

    def local_halts(self) -> Sequence[HaltRecord]:
        """See PeerServices."""
        return self.halts.unlogged

    async def read_barrier(self, *, timeout: float = limits.WRITE_TIMEOUT) -> int:
        """See PeerServices."""
        return await self.replica.read_barrier(timeout=timeout)

    def backup(self) -> bytes:
        """See PeerServices."""
        machine = self.machine
        wall_ms = int(self.clock.wall() * 1000)
        saved = Backup(self.cluster, self.name, VERSION, machine.applied_index, wall_ms, machine.snapshot())
        return encode_backup(saved)

    def events(self, after: EventId | None) -> AsyncGenerator[Event | Gap, None]:
        """See PeerServices."""
        return self.feed.stream(after)

    async def metrics_text(self) -> str:
        """See PeerServices."""
        await self.vitals.look_at_processes()
        return self.exposition()

    # ---- writes

    async def _write(self, command: Command, request_id: str = "") -> Outcome:
        outcome = await self.replica.propose(request_id or self.request_ids.next(), encode(command, CALLER.get()))
        raise_for_result(outcome.result)
        return outcome

    async def check(self, task: str, orchestration: ResolvedOrchestration) -> None:
        """See PeerServices."""
        if self._accepted(task):
            return  # what it does by now stands in the way of doing it again
        admitted = admit(self.state, task, orchestration, int(self.clock.wall() * 1000)).accepted
        if admitted is None:
            return
        try:
            await self.abilities.check(orchestration, admitted.targets)
        except (
            Refused
        ):  # of a submit that is repeated, the first may have been accepted without this peer knowing it yet
            await self.read_barrier()
            if not self._accepted(task):
                raise

    def _accepted(self, task: str) -> bool:
        return task in self.state.tasks or task in self.state.finished

    async def submit(self, task: str, orchestration: Mapping[str, Any]) -> Outcome:
        """See PeerServices."""
        return await self._write(SubmitTask(task, dict(orchestration)), of_task(task))

    async def cancel_task(self, task: str, reason: str) -> Outcome:
        """See PeerServices."""
        return await self._write(CancelTask(task, reason))

    async def pause_task(self, task: str) -> Outcome:
        """See PeerServices."""
        return await self._write(PauseTask(task))

    async def resume_task(self, task: str) -> Outcome:
        """See PeerServices."""
        return await self._write(ResumeTask(task))

    async def drain_node(self, name: str, drained: bool) -> Outcome:
        """See PeerServices."""
        return await self._write(DrainNode(name, drained))

    async def remove_node(self, name: str, *, timeout: float = limits.MEMBERSHIP_TIMEOUT) -> Outcome:
        """See PeerServices."""
        await self.membership.remove(name, timeout=timeout)
        return Outcome(self.machine.applied_index, {"ok": True, "removed": name})

    async def promote_node(self, name: str, *, timeout: float = limits.MEMBERSHIP_TIMEOUT) -> Outcome:
        """See PeerServices."""
        await self.membership.promote(name, timeout=timeout)
        return Outcome(self.machine.applied_index, {"ok": True, "promoted": name})

    async def join(self, request: JoinRequest, *, timeout: float = limits.MEMBERSHIP_TIMEOUT) -> JoinAnswer:
        """See PeerServices."""
        request = self.access.check(request)
        if request.token:
            await self.access.spend(request)
        await self.membership.join(request, timeout=timeout)
        certificate, authorities = self.access.sign(request)
        members = {**self.replica.members, request.name: request.raft_address}
        return JoinAnswer(self.cluster, members, certificate, authorities)

    async def halt(self, reason: str, halt_id: str = "") -> HaltAnswer:
        """See PeerServices."""
        return await self.halts.halt(reason, halt_id)

    async def resume(self, halts: Sequence[str] | None) -> Sequence[str]:
        """See PeerServices."""
        known = {*self.state.halts, *(halt.id for halt in self.halts.unlogged)}
        wanted = sorted(known) if halts is None else sorted(set(halts))
        unknown = [halt for halt in wanted if halt not in known]
        if unknown:
            raise NotFound(f"found no halt {unknown[0]!r} in force; in force are {', '.join(sorted(known)) or 'none'}")
        outcome = await self._write(Resume(wanted))
        lifted: Sequence[str] = outcome.result["lifted"]
        return lifted

    # ---- proxies

    async def proxies(self) -> Sequence[ProxyRecord]:
        """See PeerServices."""
        return await self.node_proxies.records()

    async def add_proxy(
        self, name: str, listen: str, upstream: str, certificate: str = "", key: str = ""
    ) -> ProxyRecord:
        """See PeerServices."""
        kept = await self.node_proxies.add(name, listen, upstream, certificate, key)
        return ProxyRecord(kept.name, kept.listen, kept.upstream, {}, kept.certificate)

    async def remove_proxy(self, name: str) -> None:
        """See PeerServices."""
        await self.node_proxies.remove(name)

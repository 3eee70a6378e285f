"""The main process of a simulated machine: one start of a peer, put together of the product's parts.

It mirrors `raftchaos.peer.assembly`. Consensus with its transport and its files, the state machine, the agent with all
its parts and the executor with its undo journal are the product's; the proxy process, the reaper process and the
clocks are the machine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from raftchaos import limits
from raftchaos.agent.agent import Agent
from raftchaos.agent.data_directory import DataDirectory, Identity
from raftchaos.agent.halts import LocalHalts
from raftchaos.agent.leader import Leader
from raftchaos.agent.lease_keeper import LeaseKeeper
from raftchaos.agent.mailbox import Mailbox
from raftchaos.agent.membership import Membership
from raftchaos.agent.registration import Registration
from raftchaos.consensus.replica import ReplicaConfig
from raftchaos.consensus.storage import DiskLog
from raftchaos.consensus.synced import SyncedLog, _Append
from raftchaos.core import releases
from raftchaos.core.capability import ON_PROXIES
from raftchaos.core.commands import RegisterNode
from raftchaos.core.interfaces import Entry
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.planner import plan
from raftchaos.core.request_ids import RequestIds
from raftchaos.errors import RaftchaosError, Refused
from raftchaos.faults import build_faults
from raftchaos.faults.base import Host
from raftchaos.faults.executor import FaultExecutor
from raftchaos.model.nodes import Node
from raftchaos.peer.assembly import Assembly
from raftchaos.peer.main import _until_end
from raftchaos.peer.membership import PeerReplica, wait_for_membership
from raftchaos.peer.services import Services
from tests.simulation.effects import BURN, STRIKE, BurnFault, StrikeFault
from tests.simulation.joining import Settings, ask_to_join
from tests.simulation.process_loop import ProcessLoop
from tests.simulation.proxy_process import PROXIES, ProxyLink
from tests.simulation.reaper_process import ReaperLink

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

CLUSTER = "simulated"
STOPPED, REMOVED = "it was stopped", "it was removed"


class WatchedState(ReplicatedState):
    """The state machine; tells the checks of every command that it applies, and knows those of its release only."""

    def __init__(self, peer: PeerProcess) -> None:
        super().__init__()
        self._peer = peer
        self._release = Node(peer.name, 1, "", "", "", version=peer.machine.version)

    def apply(self, entry: Entry) -> dict[str, Any]:
        """See ReplicatedState."""
        try:
            releases.check(entry.command, {self._peer.name: self._release})
        except Refused as error:
            self.incompatible = f"the log holds at {entry.index} what this release does not know: {error}"
        result = super().apply(entry)
        if not self.incompatible:
            self._peer.machine.cluster.checks.applied(self._peer, entry, result)
        return result


class Watched:
    """What `raftchaos.peer.main` looks at to see whether a peer has to end."""

    removed = Assembly.removed

    def __init__(self, directory: DataDirectory, replica: PeerReplica, machine: ReplicatedState) -> None:
        self._directory, self.replica, self.machine = directory, replica, machine


class PeerProcess:
    """One incarnation. Everything that it does happens on its loop."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.name, self.incarnation = machine, machine.name, machine.incarnation
        self.started = False
        self.ending = ""
        """Why it ended by itself, if it may."""
        self.leases: dict[int, float] = {}
        """The end of every lease that it had, by its epoch, on this machine's clock."""
        self.loop = ProcessLoop(  # type: ignore[abstract]  # what nobody asks a simulated loop for is not there
            machine.world,
            machine.cluster.network,
            machine.name,
            offset=machine.offset,
            rate=machine.rate,
            chance=machine.world.chance(f"loop {machine.name} {machine.incarnation}"),
            crashed=self._crashed,
        )
        self.loop.slowest_disk = lambda: machine.slowest_disk
        self.directory = DataDirectory(machine.folder)
        self.directory.begin(self.name, _Instant(self.incarnation))
        assert self.identity.incarnation == self.incarnation
        self.agent: Agent
        self._life = self.run(self._main())
        self._life.add_done_callback(self._ended)

    @property
    def dead(self) -> bool:
        """It is no more."""
        return self.loop.dead

    @property
    def address(self) -> str:
        """Of its Raft port."""
        return f"{self.name}:7481"

    @property
    def identity(self) -> Identity:
        """As it is on the disk."""
        identity = self.directory.identity
        assert identity is not None
        return identity

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin something on its loop."""
        task: asyncio.Task[Any] = self.loop.create_task(work)
        return task

    def kill(self, *, silently: bool = False) -> None:
        """SIGKILL, or the end of the machine."""
        if not self.dead:
            self.directory.close()
        self.loop.kill(silently=silently)
        if self.started:
            self.executor.close()

    def unwritten(self) -> bytes:
        """What was on its way into its Raft log: the kernel may have got a part of it."""
        log = self.replica.raft.log if self.started else None
        if isinstance(log, SyncedLog):  # a thread writes one piece after the other; the next one waits in memory
            job = log._job
            return job.data if isinstance(job, _Append) and not job.complete else b""
        return b"".join(log._buffer) if isinstance(log, DiskLog) else b""

    def finish_threads(self) -> None:
        """What threads were doing is done, or never begun, when the process is killed."""
        self.loop.finish_threads()

    # ---- its life

    def _assemble(self, members: dict[str, str] | None) -> None:
        """`members` are those of the cluster that this machine has just been let into; None if it knows them."""
        machine, name, incarnation = self.machine, self.name, self.incarnation
        world = machine.world
        config = ReplicaConfig(
            name=name,
            cluster_id=CLUSTER,
            directory_id=self.identity.directory,
            incarnation=incarnation,
            data_dir=machine.folder,
            listen=self.address,
            advertise=self.address,
            **machine.cluster.raft_options,
        )
        self.state = WatchedState(self)
        seams: dict[str, Any] = {"clock": machine, "rng": world.chance(f"raft {name} {incarnation}")}
        if members is None:
            self.replica = PeerReplica.open(config, self.state, **seams)
        else:
            self.replica = PeerReplica.join(config, self.state, members=members, **seams)
        self.replica.nodes = lambda: self.state.state.nodes
        self.directory.become_member()
        ids = RequestIds(name, incarnation)
        mailbox = Mailbox(self.replica)
        self.proxy = ProxyLink(machine)
        self.reaper = ReaperLink(machine, self)
        host = Host(proxy=self.proxy, data_dir=machine.folder)
        faults = {**build_faults(host, sorted(ON_PROXIES)), BURN: BurnFault(machine), STRIKE: StrikeFault(machine)}
        self.executor = FaultExecutor(
            host,
            node=name,
            clock=machine,
            reaper=self.reaper,
            proxies=lambda: PROXIES,
            faults=faults,
        )
        common: dict[str, Any] = {"mailbox": mailbox, "state": lambda: self.state.state}
        self.registration = Registration(
            log=self.replica,
            request_ids=ids,
            describe=self._describe,
            clean=lambda: self.executor.clean and self.agent.settled,
        )
        self.keeper = LeaseKeeper(
            log=self.replica,
            clock=machine,
            name=name,
            incarnation=incarnation,
            directory=self.identity.directory,
            health=tuple,
            recovering=lambda: self.agent.recovering(),
            **common,
        )
        self.halts = LocalHalts(
            machine.folder, name=name, replicated=self.replica, request_ids=ids, clock=machine, **common
        )
        self.agent = Agent(
            name=name,
            incarnation=incarnation,
            directory=self.identity.directory,
            replicated=self.replica,
            state=common["state"],
            lease=self.keeper.lease,
            executor=self.executor,
            halts=self.halts,
            request_ids=ids,
            clock=machine,
        )
        self.leader = Leader(log=self.replica, clock=machine, request_ids=ids, plan=plan, **common)
        self.membership = Membership(log=self.replica, request_ids=ids, **common)
        self.services = self._services(ids)
        for listener in (self.proxy, self.reaper, self.executor, self.agent, self):
            self.keeper.add_listener(listener)

    def _services(self, ids: RequestIds) -> Services:
        given: dict[str, Any] = {
            "clock": self.machine,
            "name": self.name,
            "cluster": CLUSTER,
            "insecure": True,
            "replica": self.replica,
            "machine": self.state,
            "agent": self.agent,
            "halts": self.halts,
            "membership": self.membership,
            "request_ids": ids,
        }
        unused: dict[str, Any] = dict.fromkeys(
            field.name for field in fields(Services)
        )  # what no simulated user asks for
        every: Any = {**unused, **given}
        return Services(**every)

    def _describe(self) -> RegisterNode:
        return RegisterNode(
            name=self.name,
            incarnation=self.incarnation,
            directory=self.identity.directory,
            raft_address=self.address,
            api_address=f"{self.name}:7480",
            capabilities=list(self.executor.types),
            proxies=list(PROXIES),
            version=self.machine.version,
        )

    async def _main(self) -> None:
        await self.machine.wait(0.01, 0.1)
        members = None
        if not (self.identity.member or PeerReplica.exists(self.machine.folder)):
            answer = await ask_to_join(self._settings(), self.identity)
            self.directory.adopt_cluster(answer["cluster"])
            members = dict(answer["members"])
        self._assemble(members)
        self.started = True
        self.machine.cluster.checks.peer_started(self)
        self.loop.after_turn = self._after_turn
        self.machine.cluster.spoil(self)
        await self.replica.start()
        async with asyncio.TaskGroup() as group:
            for part in (
                self.proxy.run(self.agent.wake),
                self.reaper.run(self.agent.wake),
                self.halts.run(),
                self.executor.run(),
                self.agent.run(),
                self.keeper.run(),
                self.leader.run(),
                self.membership.run(),
                self._take_part(),
                self._until_end(),
            ):
                group.create_task(part)

    def _settings(self) -> Any:
        """Who founded the cluster was not told to join one."""
        return Settings(self.machine, self.name, None if self.machine.lives == 1 else "any peer")

    async def _take_part(self) -> None:
        try:
            await wait_for_membership(self._settings(), self.directory, self.replica, None)
        except RaftchaosError as error:
            if self.identity.voted:
                raise
            self.ending = f"it was not let in: {error}"
            raise EndOfPeer(self.ending) from error
        await self.registration.run()

    async def _until_end(self) -> None:
        watched: Any = Watched(self.directory, self.replica, self.state)
        try:
            await _until_end(watched, self._life, asyncio.Event())
        except RaftchaosError as error:
            if not watched.removed or not self._was_removed():
                raise AssertionError(f"it ends without a reason: {error}") from error
            self.ending = REMOVED
            raise EndOfPeer(self.ending) from error

    def _after_turn(self) -> None:
        self.machine.cluster.checks.turned(self)

    def stop(self) -> asyncio.Task[None]:
        """SIGTERM: take back, hand over, leave."""

        async def leave() -> None:
            await self.agent.stop()
            if self.replica.status().leader_ready:
                await self.replica.transfer_leadership(timeout=limits.HAND_OVER)
            self.ending = STOPPED
            self._life.cancel()
            await asyncio.wait([self._life])
            await self.replica.close()
            self._gone()

        return self.run(leave())

    # ---- how it ends

    def _ended(self, life: asyncio.Task[Any]) -> None:
        if self.dead:
            return
        if not life.cancelled() and life.exception() is not None:
            for error in _leaves(life.exception()):
                if isinstance(error, RaftchaosError) and self._was_removed():
                    self.ending = f"{REMOVED}: {error}"
                elif not isinstance(error, EndOfPeer):
                    self._crashed(error)
        machine = self.machine
        machine.world.note(self.name, f"main has ended: {self.ending or 'without a reason'}")
        if self.ending.startswith(REMOVED):
            machine.removed = True
        if self.ending != STOPPED:
            self._gone()

    def _gone(self) -> None:
        if not self.dead:
            self.machine.world.at(0.0, self._vanish)

    def _vanish(self) -> None:
        if not self.dead:
            self.kill()
            self.machine.main_gone(self)

    def _was_removed(self) -> bool:
        return self.name in self.machine.cluster.removed

    def _crashed(self, error: BaseException | str | None) -> None:
        if isinstance(error, BaseException):
            raise_place = _place(error)
            self.machine.world.violated("CRASH", f"{self.name}: {type(error).__name__}: {error} {raise_place}")
        else:
            self.machine.world.violated("CRASH", f"{self.name}: {error}")

    # ---- the lease, for the checks

    def on_renewed(self, end: float, epoch: int) -> None:
        """The lease keeper's listener."""
        self.leases[epoch] = max(end, self.leases.get(epoch, 0.0))

    def on_lapsed(self, epoch: int) -> None:
        """The lease keeper's listener."""
        self.machine.world.note(self.name, f"its lease {epoch} has ended")


class _Instant(SimpleNamespace):
    """A clock by which the start of a peer gets this incarnation."""

    def __init__(self, incarnation: int) -> None:
        super().__init__(wall=lambda: (incarnation + 0.5) / 1000)


class EndOfPeer(Exception):
    """This peer has no reason to go on."""


def _leaves(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [] if error is None else [error]


def _place(error: BaseException) -> str:
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return "" if at is None else f"({at.tb_frame.f_code.co_filename}:{at.tb_lineno})"

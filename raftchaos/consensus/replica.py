"""One peer's replica of the log: everything that the other rooms may ask of consensus."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from raftchaos import limits
from raftchaos.clock import Clock, SystemClock
from raftchaos.consensus import bootstrap, views
from raftchaos.consensus.changes import Changes
from raftchaos.consensus.config import DISK, ReplicaConfig
from raftchaos.consensus.driver import Driver, Scheduler
from raftchaos.consensus.entries import decode_command
from raftchaos.consensus.files import Offload, corrupt
from raftchaos.consensus.handshake import Identity
from raftchaos.consensus.listeners import Listeners
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.proposals import Proposals
from raftchaos.consensus.queries import Queries
from raftchaos.consensus.raft import Raft
from raftchaos.consensus.seams import LEADER, PeerTransport
from raftchaos.consensus.snapshot import Snapshot, SnapshotStore
from raftchaos.consensus.storage import MemoryLog
from raftchaos.consensus.transport import TcpTransport
from raftchaos.consensus.waiting import Waiting
from raftchaos.core.interfaces import Entry, Outcome, ReplicaStatus, StateMachine
from raftchaos.core.services import no_quorum_message
from raftchaos.errors import MachineUnusable, NoQuorum

__all__ = ["Replica", "ReplicaConfig"]

APPLICATION_PENDING = 1024 * 1024
"""Bytes queued for a peer above which application messages to it are not sent: the log comes first."""


class Replica:
    """Implements `core.interfaces.ReplicatedLog`. Made by `create`, `join` or `open` inside a running event loop, then
    `await start()`, and `await close()` at the end. Everything happens in the loop's thread.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        machine: StateMachine,
        *,
        log: MemoryLog,
        snapshots: SnapshotStore,
        snapshot: Snapshot | None,
        transport: PeerTransport,
        scheduler: Scheduler,
        clock: Clock,
        rng: random.Random,
        offload: Offload | None = None,
    ) -> None:
        """For simulations, which bring their own log, network, scheduler and clock. `open` makes the real ones."""
        self.config, self.name = config, config.name
        self.failure: BaseException | None = None
        """Why this replica stopped by itself, if it did."""
        self.stopped = asyncio.Event()
        """Set when it was closed or stopped by itself."""
        self._machine, self._scheduler = machine, scheduler
        self._listeners = Listeners()
        self._change_scheduled = False
        self._applied_seen = 0
        self._restored = False
        self._raft: Raft | None = None
        self._driver = Driver(scheduler, self._failed)
        snapshots.offload = log.offload = offload or self._driver.offload
        self.waiting = Waiting()
        if snapshot is not None:
            try:
                machine.restore(snapshot.state)
            except ValueError as error:
                raise corrupt(snapshots.path or "the snapshot", f"its state is not believable: {error}") from None
        self.proposals = Proposals(raft=lambda: self.raft, wall=clock.wall, missing=self._missing)
        self._raft = Raft(
            PeerNode(config.name, config.advertise),
            owner=self,
            transport=transport,
            log=log,
            snapshots=snapshots,
            snapshot=snapshot,
            timings=config.timings,
            rng=rng,
            entries_before_snapshot=config.entries_before_snapshot,
            bytes_before_snapshot=config.bytes_before_snapshot,
        )
        self._applied_seen = self._raft.applied_index
        self._queries = Queries(self, self.waiting)
        self._changes = Changes(self, self.waiting)

    # ---- making one

    @classmethod
    def create(cls, config: ReplicaConfig, machine: StateMachine, **seams: Any) -> Self:
        """Found a cluster whose only voter is this peer. Raises Conflict if the data directory was used before."""
        bootstrap.found(config.data_dir, cluster_id=config.cluster_id, name=config.name, address=config.advertise)
        return cls.open(config, machine, **seams)

    @classmethod
    def join(cls, config: ReplicaConfig, machine: StateMachine, *, members: dict[str, str], **seams: Any) -> Self:
        """A new peer of an existing cluster. `members` are the names and Raft addresses to expect, its own included.

        It does not campaign before it finds itself in a configuration of the log, that is, until the leader's
        `add_voter` has reached it. Raises Conflict if the data directory was used before.
        """
        expected = {**members, config.name: config.advertise}
        bootstrap.expect(config.data_dir, cluster_id=config.cluster_id, name=config.name, members=expected)
        return cls.open(config, machine, **seams)

    @classmethod
    def open(
        cls,
        config: ReplicaConfig,
        machine: StateMachine,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> Self:
        """Go on from the data directory. Raises DataCorrupt that names the file that cannot be believed."""
        store = SnapshotStore(bootstrap.raft_directory(config.data_dir) / "snapshot")
        log, snapshot = bootstrap.load(
            config.data_dir,
            store,
            cluster_id=config.cluster_id,
            name=config.name,
            synced=config.durability == DISK,
        )
        rng = rng or random.Random()
        transport = TcpTransport(
            Identity(config.cluster_id, config.name, config.directory_id, config.incarnation, config.advertise),
            listen=config.listen,
            silence=config.timings.silence,
            rng=rng,
            tls=config.tls,
        )
        return cls(
            config,
            machine,
            log=log,
            snapshots=store,
            snapshot=snapshot,
            transport=transport,
            scheduler=asyncio.get_running_loop(),
            clock=clock or SystemClock(),
            rng=rng,
        )

    @staticmethod
    def exists(data_dir: Path) -> bool:
        """`open` is right for this directory, not `create` or `join`."""
        return bootstrap.exists(data_dir)

    async def start(self) -> None:
        """Bind the Raft port and take part. Raises MachineUnusable."""
        transport = self.raft.transport
        if isinstance(transport, TcpTransport):
            transport.failed = self._driver.fail
            transport.leaderless = lambda: self.raft.leader is None
            transport.configuration = lambda: self.raft.configuration_index
            transport.refused = self.changed
            await transport.start()
        self.run()

    def run(self) -> None:
        """Take part; the network is there already."""
        self._driver.start(self.raft)
        self.changed()

    async def close(self) -> None:
        """Leave without a word: the others see the connections break. Files are complete afterwards."""
        self._driver.stop()
        self.proposals.close(NoQuorum("the write was not made: this peer is stopping"))
        self.waiting.close()
        transport = self.raft.transport
        if isinstance(transport, TcpTransport):
            await transport.close()
        await self._driver.drain()
        self._let_go()
        self.stopped.set()

    def _let_go(self) -> None:
        self.raft.snapshots.close()
        if self.failure is None:
            self.raft.log.close()

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, OSError):
            error = MachineUnusable(f"cannot write the Raft log in {self.config.data_dir}: {error.strerror or error}")
        self.failure = error
        self.raft.transport.destroy()
        self.proposals.close(NoQuorum(f"the write was not made: this peer's replica has stopped ({error})"))
        self.waiting.close()
        self.stopped.set()
        self.changed()

    # ---- what Raft calls (RaftOwner)

    def wake(self) -> None:
        """Tick soon."""
        self._driver.wake()

    def apply(self, index: int, term: int, content: bytes) -> None:
        """Hand a committed command to the state machine and its result to whoever waits here."""
        command = decode_command(content)
        if command is None:
            return
        request_id, wall_ms, body = command
        result = self._machine.apply(Entry(index, term, request_id, wall_ms, body))
        self.proposals.applied(request_id, Outcome(index, result if isinstance(result, dict) else {}))

    def snapshot(self) -> bytes:
        """The state after the entry applied last."""
        return self._machine.snapshot()

    def restore(self, state: bytes) -> None:
        """Replace the state by a leader's."""
        self._machine.restore(state)
        self._restored = True

    def ticked(self) -> None:
        """After each tick: tell what was applied, and wake those whose condition came true."""
        applied = self.raft.applied_index
        if applied != self._applied_seen or self._restored:
            if self._restored:
                self._restored = False
                self.proposals.restored()
            self._applied_seen = applied
            self._listeners.tell_applied()
        self.waiting.check()

    def changed(self) -> None:
        """Tell everyone, once for everything that changes now."""
        if self._raft is None:
            return
        if self._raft.leader is None:
            self.proposals.leader_lost()
        if not self._change_scheduled:
            self._change_scheduled = True
            self._scheduler.call_soon(self._tell_change)

    def _tell_change(self) -> None:
        self._change_scheduled = False
        if self.failure is None:
            self.proposals.changed()
            self.waiting.check()
        self._listeners.tell_change()

    def received(self, peer: str, message: dict[str, Any]) -> None:
        """A message that is not Raft's own."""
        kind = message["type"]
        if kind == "application":
            self._listeners.tell_message(peer, message["body"])
        elif kind == "propose":
            self.proposals.forwarded(peer, message, self.transmit)
        elif kind == "propose_refused":
            self.proposals.refused(message)
        elif kind == "remove_me":
            self._changes.asked_to_remove(peer)
        else:
            self._queries.received(peer, message)

    # ---- ReplicatedLog

    @property
    def raft(self) -> Raft:
        """Raft itself, for the other modules of this room and for tests."""
        assert self._raft is not None
        return self._raft

    @property
    def members(self) -> dict[str, str]:
        """Name and Raft address of every voter, as the newest configuration in the log says."""
        return dict(self.raft.configuration.voters)

    @property
    def removed(self) -> bool:
        """This peer was removed: its log says so, or most of the other voters say that it is no member."""
        return views.removed(self.raft)

    @property
    def refused(self) -> bool:
        """Most of the other voters that this peer knows say that it is no member."""
        return views.refused(self.raft)

    def status(self) -> ReplicaStatus:
        """See ReplicatedLog."""
        return views.status(self.raft, stopped=self.stopped.is_set())

    def behind(self) -> dict[str, int]:
        """See ReplicatedLog."""
        return {} if self.stopped.is_set() else views.behind(self.raft)

    def _missing(self) -> tuple[str, dict[str, Any]]:
        status = self.status()
        quorum = status.quorum
        details = {"voters": list(quorum.voters), "reachable": list(quorum.reachable), "missing": quorum.missing}
        return no_quorum_message(status), details

    def no_quorum(self, what: str) -> NoQuorum:
        """The error for something that needs a majority and did not get it."""
        text, details = self._missing()
        return NoQuorum(f"{what}: {text}", details=details)

    async def propose(self, request_id: str, command: bytes, *, timeout: float = limits.WRITE_TIMEOUT) -> Outcome:
        """See ReplicatedLog."""
        self.check_running()
        return await self.proposals.propose(request_id, command, timeout)

    def propose_as_leader(self, request_id: str, command: bytes, term: int) -> bool:
        """See ReplicatedLog."""
        raft = self.raft
        if self.stopped.is_set() or raft.role != LEADER or raft.term != term or len(command) > limits.COMMAND:
            return False
        return self.proposals.append(request_id, command)

    async def read_barrier(self, *, timeout: float) -> int:
        """See ReplicatedLog."""
        self.check_running()
        return await self._queries.read_barrier(timeout)

    async def confirm_leadership(self, *, timeout: float) -> int:
        """See ReplicatedLog."""
        self.check_running()
        return await self._queries.confirm_leadership(timeout)

    def check_running(self) -> None:
        """Raises NoQuorum if this replica was closed or has stopped."""
        if self.stopped.is_set():
            reason = f"this peer's replica has stopped ({self.failure})" if self.failure else "this peer is stopping"
            raise NoQuorum(reason)

    def transmit(self, peer: str, message: dict[str, Any]) -> bool:
        """Send a message to a peer by its name; False if it is not connected."""
        return self.raft.transport.send(PeerNode(peer, ""), message)

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        """See ReplicatedLog."""
        if self.stopped.is_set():
            return False
        if peer == self.name:
            self._scheduler.call_soon(self._listeners.tell_message, peer, message)
            return True
        if self.raft.transport.pending(PeerNode(peer, "")) > APPLICATION_PENDING:
            return False
        return self.transmit(peer, {"type": "application", "body": message})

    def on_message(self, handler: Callable[[str, dict[str, Any]], None]) -> None:
        """See ReplicatedLog."""
        self._listeners.message.append(handler)

    def on_applied(self, callback: Callable[[], None]) -> None:
        """See ReplicatedLog."""
        self._listeners.applied.append(callback)

    def on_change(self, callback: Callable[[], None]) -> None:
        """See ReplicatedLog."""
        self._listeners.change.append(callback)

    async def add_voter(self, name: str, raft_address: str, *, timeout: float) -> None:
        """See ReplicatedLog. The peer must run by then: it is sent the log first, and votes once it has it."""
        self.check_running()
        await self._changes.add_voter(name, raft_address, timeout)

    async def add_observer(self, name: str, raft_address: str, *, timeout: float) -> None:
        """See ReplicatedLog. The peer must run by then, as a new voter."""
        self.check_running()
        await self._changes.add_observer(name, raft_address, timeout)

    async def remove_member(self, name: str, *, timeout: float) -> None:
        """See ReplicatedLog."""
        self.check_running()
        await self._changes.remove_member(name, timeout)

    def set_address(self, name: str, raft_address: str) -> None:
        """See ReplicatedLog."""
        self.raft.set_address(name, raft_address)

    async def transfer_leadership(self, *, timeout: float) -> bool:
        """See ReplicatedLog."""
        self.check_running()
        return await self._changes.transfer_leadership(timeout)

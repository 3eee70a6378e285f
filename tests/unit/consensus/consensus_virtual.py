"""Raft on a virtual clock and a virtual network: one peer fed by hand, or a whole cluster that loses, delays, reorders
and crashes by a seed.
"""

from __future__ import annotations

import copy
import heapq
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raftchaos.consensus import seams
from raftchaos.consensus.entries import (
    NOOP,
    Configuration,
    LogEntry,
    decode_command,
    encode_command,
    encode_configuration,
)
from raftchaos.consensus.messages import check
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.raft import Raft
from raftchaos.consensus.snapshot import Snapshot, SnapshotStore
from raftchaos.consensus.storage import MemoryLog
from raftchaos.consensus.timings import Timings


class VirtualClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def virtual_time() -> Iterator[VirtualClock]:
    clock = VirtualClock()
    seams.use_time(clock)
    try:
        yield clock
    finally:
        seams.use_time()


class HandTransport(seams.PeerTransport):
    """Keeps what is sent for the test to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.nodes: dict[str, PeerNode] = {}

    @property
    def ready(self) -> bool:
        return True

    def addNode(self, node: PeerNode) -> None:
        self.nodes[node.name] = node

    def dropNode(self, node: PeerNode) -> None:
        self.nodes.pop(node.name, None)

    def send(self, node: PeerNode, message: dict[str, Any]) -> bool:
        self.sent.append((node.name, check(message)))
        return True

    def pending(self, node: PeerNode) -> int:
        return 0

    def destroy(self) -> None:
        pass

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        sent, self.sent = self.sent, []
        return sent


class Owner:
    """Applies into a list; implements `RaftOwner`."""

    def __init__(self) -> None:
        self.applied: list[tuple[int, bytes]] = []
        self.state: list[str] = []
        self.awake = False
        self.other: list[tuple[str, dict[str, Any]]] = []

    def wake(self) -> None:
        self.awake = True

    def apply(self, index: int, term: int, content: bytes) -> None:
        self.applied.append((index, content))
        command = decode_command(content)
        if command is not None:
            self.state.append(command[0])

    def snapshot(self) -> bytes:
        return "\n".join(self.state).encode()

    def restore(self, state: bytes) -> None:
        self.state = state.decode().split("\n") if state else []

    def changed(self) -> None:
        pass

    def ticked(self) -> None:
        pass

    def received(self, peer: str, message: dict[str, Any]) -> None:
        self.other.append((peer, message))


def command(request_id: str, size: int = 0) -> bytes:
    return encode_command(request_id, 0, b"x" * size)


def founded(*names: str) -> MemoryLog:
    """The log of a cluster of these voters before its first election."""
    log = MemoryLog()
    log.add(NOOP, 1, 0)
    log.add(encode_configuration(Configuration({name: f"{name}:1" for name in names})), 2, 0)
    log.flush()
    return log


def one_raft(
    name: str = "b",
    names: tuple[str, ...] = ("a", "b", "c"),
    log: MemoryLog | None = None,
    timings: Timings | None = None,
    **options: Any,
) -> tuple[Raft, HandTransport, Owner]:
    """A peer of a cluster whose other members are the test."""
    transport, owner = HandTransport(), Owner()
    raft = Raft(
        PeerNode(name, f"{name}:1"),
        owner=owner,
        transport=transport,
        log=log or founded(*names),
        snapshots=SnapshotStore(None),
        snapshot=None,
        timings=timings or Timings(),
        rng=random.Random(1),
        **options,
    )
    for node in raft.others:
        transport._onNodeConnected(node)
    transport.take()
    return raft, transport, owner


def tell(raft: Raft, sender: str, message: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Deliver a message and tick; returns what was sent because of it."""
    transport: Any = raft.transport
    transport._onMessageReceived(PeerNode(sender, f"{sender}:1"), check(message))
    raft.doTick(0)
    sent: list[tuple[str, dict[str, Any]]] = transport.take()
    return sent


def append(
    term: int, prev: int, prev_term: int, entries: list[LogEntry] | None = None, commit: int = 0
) -> dict[str, Any]:
    return {
        "type": "append",
        "term": term,
        "commit": commit,
        "prev": prev,
        "prev_term": prev_term,
        "entries": tuple(entries or ()),
        "round": 0,
    }


class NetTransport(HandTransport):
    def __init__(self, name: str, network: VirtualCluster) -> None:
        super().__init__()
        self.name, self.network = name, network

    def send(self, node: PeerNode, message: dict[str, Any]) -> bool:
        return self.network.send(self.name, node.name, check(copy.deepcopy(message)))


class Disk:
    """What a peer has after a crash: everything that was flushed, and term and vote."""

    def __init__(self, log: MemoryLog) -> None:
        self.term, self.vote, self.commit = 0, None, 1
        self.entries: list[LogEntry] = list(log.entries)
        self.snapshot: bytes = b""


class CrashLog(MemoryLog):
    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self.disk = disk
        self.entries, self.term, self.vote, self.commit = list(disk.entries), disk.term, disk.vote, disk.commit
        self.bytes = sum(len(entry[0]) for entry in self.entries)
        super().flush()

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        super().setCurrentTerm(term, votedForNodeId)
        self.disk.term, self.disk.vote = term, votedForNodeId

    def flush(self) -> None:
        super().flush()
        self.disk.entries = list(self.entries)
        self.disk.commit = min(self.commit, self.last_index)

    def compact(self, first_index: int) -> None:
        super().compact(first_index)
        self.flush()

    def reset(self, index: int, term: int) -> None:
        super().reset(index, term)
        self.flush()


class VirtualCluster:
    """Several peers; `fifo` is one TCP connection a pair, otherwise messages are lost, repeated and reordered."""

    def __init__(
        self, clock: VirtualClock, seed: int, names: tuple[str, ...], *, fifo: bool, compact: int = 40
    ) -> None:
        self.clock, self.names, self.fifo, self.compact = clock, names, fifo, compact
        self.random = random.Random(seed)
        self.queue: list[tuple[float, int, str, str, int, dict[str, Any]]] = []
        self.counter = 0
        self.epoch: dict[frozenset[str], int] = {}
        self.last: dict[tuple[str, str], float] = {}
        self.cut: set[frozenset[str]] = set()
        self.disks = {name: Disk(founded(*names)) for name in names}
        self.rafts: dict[str, Raft] = {}
        self.owners: dict[str, Owner] = {}
        self.committed: dict[int, bytes] = {}
        self.acknowledged: list[str] = []
        self.leaders: dict[int, str] = {}
        for name in names:
            self.start(name)

    def start(self, name: str) -> None:
        disk = self.disks[name]
        log, store, owner = CrashLog(disk), SnapshotStore(None), Owner()
        snapshot: Snapshot | None = None
        if disk.snapshot:
            store._data = disk.snapshot
            snapshot = store.load()
            assert snapshot is not None
            place = snapshot.key.last - log.first_index
            assert place >= 0, "the log begins after the snapshot"
            if place >= len(log) or log[place][2] != snapshot.key.term:
                log.reset(*snapshot.key)
            owner.restore(snapshot.state)
        present = store._present

        def presented(key: Any, data: bytes) -> None:
            present(key, data)
            disk.snapshot = data

        store._present = presented  # type: ignore[method-assign]
        self.owners[name] = owner
        raft = self.rafts[name] = Raft(
            PeerNode(name, f"{name}:1"),
            owner=owner,
            transport=NetTransport(name, self),
            log=log,
            snapshots=store,
            snapshot=snapshot,
            timings=Timings(election_min=0.15, election_max=0.3, append_period=0.03),
            rng=random.Random(self.random.random()),
            entries_before_snapshot=self.compact,
        )
        for other in self.names:
            if other != name and other in self.rafts and frozenset((name, other)) not in self.cut:
                self.connect(name, other)
        raft.doTick(0)

    def connect(self, a: str, b: str) -> None:
        pair = frozenset((a, b))
        self.epoch[pair] = self.epoch.get(pair, 0) + 1
        for one, other in ((a, b), (b, a)):
            self.rafts[one].transport._onNodeConnected(PeerNode(other, ""))

    def disconnect(self, a: str, b: str) -> None:
        pair = frozenset((a, b))
        self.epoch[pair] = self.epoch.get(pair, 0) + 1
        for one, other in ((a, b), (b, a)):
            if one in self.rafts:
                self.rafts[one].transport._onNodeDisconnected(PeerNode(other, ""))

    def crash(self, name: str) -> None:
        del self.rafts[name]
        for other in self.rafts:
            self.disconnect(name, other)

    def partition(self, side: set[str]) -> None:
        self.cut = {frozenset((a, b)) for a in self.names for b in self.names if (a in side) != (b in side)}
        for a, b in sorted(tuple(sorted(pair)) for pair in self.cut):
            self.disconnect(a, b)

    def heal(self) -> None:
        cut, self.cut = self.cut, set()
        for a, b in sorted(tuple(sorted(pair)) for pair in cut):
            if a in self.rafts and b in self.rafts:
                self.connect(a, b)

    def send(self, a: str, b: str, message: dict[str, Any]) -> bool:
        pair = frozenset((a, b))
        if b not in self.rafts or pair in self.cut:
            return False
        at = self.clock.now + self.random.uniform(0.001, 0.02)
        if self.fifo:
            at = self.last[a, b] = max(at, self.last.get((a, b), 0.0) + 1e-6)
        else:
            if self.random.random() < 0.02:
                return True
            if self.random.random() < 0.02:
                self._push(at + self.random.uniform(0, 3), a, b, message)
        self._push(at, a, b, message)
        return True

    def _push(self, at: float, a: str, b: str, message: dict[str, Any]) -> None:
        self.counter += 1
        heapq.heappush(self.queue, (at, self.counter, a, b, self.epoch.get(frozenset((a, b)), 0), message))

    def step(self, seconds: float = 0.005) -> None:
        """Deliver what is due, tick everyone, and check what Raft guarantees."""
        self.clock.now += seconds
        while self.queue and self.queue[0][0] <= self.clock.now:
            _, _, a, b, epoch, message = heapq.heappop(self.queue)
            pair = frozenset((a, b))
            if b in self.rafts and pair not in self.cut and (not self.fifo or epoch == self.epoch.get(pair, 0)):
                self.rafts[b].transport._onMessageReceived(PeerNode(a, ""), message)
        for name in sorted(self.rafts):
            self.rafts[name].doTick(0)
            self.check(name)

    def check(self, name: str) -> None:
        raft, owner = self.rafts[name], self.owners[name]
        if raft.role == seams.LEADER:
            assert self.leaders.setdefault(raft.term, name) == name, f"two leaders in term {raft.term}"
            assert raft.is_voter, f"{name} leads without a vote"
        for index, content in owner.applied:
            assert self.committed.setdefault(index, content) == content, f"{name} applied another entry {index}"
        for _, content in owner.applied:
            request = decode_command(content)
            if request is not None:
                self.acknowledged.append(request[0])
        owner.applied.clear()

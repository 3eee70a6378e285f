"""The one file that knows PySyncObj's private names.

The class is called `_SyncObj` on purpose: Python mangles `self.__name` with the class name stripped of its leading
underscores, so here `__name` is the very `_SyncObj__name` of the base class, to read and to override. Everything else
in this room uses the plain names that are defined here. `tests/unit/consensus/test_seams.py` checks that each one
still exists.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import pysyncobj.syncobj as base

from raftchaos.consensus import codec
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.snapshot import SnapshotStore
from raftchaos.consensus.storage import MemoryLog
from raftchaos.consensus.timings import Timings

if TYPE_CHECKING:
    from raftchaos.consensus.membership import Extra
    from raftchaos.consensus.replication import Progress

FOLLOWER: Final = 0
CANDIDATE: Final = 1
LEADER: Final = 2
NEVER: Final = float("-inf")

PRIVATE_ATTRIBUTES: Final = [
    "raftState",
    "raftCurrentTerm",
    "votedForNodeId",
    "raftLeader",
    "raftElectionDeadline",
    "raftLog",
    "raftCommitIndex",
    "raftLastApplied",
    "raftNextIndex",
    "raftMatchIndex",
    "lastResponseTime",
    "otherNodes",
    "connectedNodes",
    "selfNode",
    "noopIDx",
    "leaderCommitIndex",
    "newAppendEntriesTime",
    "transport",
    "startTime",
    "numOneSecondDumps",
    "needLoadDumpFile",
]
PRIVATE_METHODS: Final = [
    "onMessageReceived",
    "onNodeConnected",
    "onNodeDisconnected",
    "onBecomeLeader",
    "sendAppendEntries",
    "generateRaftTimeout",
    "doApplyCommand",
    "applyLogEntries",
    "setCurrentTerm",
    "setState",
    "getEntries",
    "deleteEntriesFrom",
]
MODULE_ATTRIBUTES: Final = ("createJournal", "createPoller", "PIPE_NOTIFIER_ENABLED", "monotonicTime", "pickle")


class _NoPoller:
    """PySyncObj wants to poll sockets; ours belong to the event loop."""

    def poll(self, timeout: float) -> None:
        """Nothing to wait for."""

    def subscribe(self, *arguments: object) -> None:
        """Nothing to watch."""

    def unsubscribe(self, *arguments: object) -> None:
        """Nothing was watched."""


def install() -> None:
    """Put our parts in the places where PySyncObj would take its own; changes nothing the second time."""
    codec.install()
    base.createJournal = lambda log: log
    base.createPoller = lambda kind: _NoPoller()
    base.PIPE_NOTIFIER_ENABLED = False  # its pipe blocks for ever at the 65 537th proposal


def use_time(source: Callable[[], float] = time.monotonic) -> None:
    """Every timeout of every replica in this process is measured by this clock of seconds.

    By default the clock of asyncio's loops. PySyncObj brings CLOCK_MONOTONIC_RAW, which drifts against it.
    """
    base.monotonicTime = source


install()
use_time()


def now() -> float:
    """The time of `use_time`; only differences mean something."""
    return float(base.monotonicTime())


class PeerTransport(base.Transport):  # type: ignore[misc]
    """What Raft needs of the network: ordered messages on one connection a pair, or the connection breaks.

    PySyncObj's base class holds the callbacks. A frame of an earlier connection is never delivered, and nothing is
    sent again on the next one. Abstract: `transport.TcpTransport` is the real one, tests have others.
    """

    def __init__(self) -> None:
        super().__init__(None, None, [])

    def addNode(self, node: PeerNode) -> None:
        """Keep a connection to this peer from now on. Known peers get the new address."""
        raise NotImplementedError

    def dropNode(self, node: PeerNode) -> None:
        """No longer connect to this peer, nor let it connect."""
        raise NotImplementedError

    def send(self, node: PeerNode, message: dict[str, Any]) -> bool:
        """Send if connected; False if not."""
        raise NotImplementedError

    def pending(self, node: PeerNode) -> int:
        """Bytes that wait to be sent to this peer."""
        raise NotImplementedError

    def destroy(self) -> None:
        """Close everything at once."""
        raise NotImplementedError


class RaftOwner(Protocol):
    """What Raft needs of the replica that holds it. Every method is called from the loop's thread."""

    def wake(self) -> None:
        """Run a tick soon; many calls make one tick."""

    def apply(self, index: int, term: int, content: bytes) -> None:
        """Apply a committed entry; in order, each exactly once since the last restore."""

    def snapshot(self) -> bytes:
        """The state after the entry applied last."""

    def restore(self, state: bytes) -> None:
        """Replace the state. Raises ValueError if it is not believable."""

    def changed(self) -> None:
        """The role, term, leader, a connection or the configuration changed."""

    def ticked(self) -> None:
        """A tick is complete."""

    def received(self, peer: str, message: dict[str, Any]) -> None:
        """A message that is not Raft's own arrived."""


class _SyncObj(base.SyncObj):  # type: ignore[misc]
    """PySyncObj's object with its privates under plain names. What it cannot do stands in the other modules."""

    owner: RaftOwner
    timings: Timings
    random: random.Random
    snapshots: SnapshotStore
    extras: dict[str, Extra]
    progress: dict[PeerNode, Progress]
    heard_leader_at: float
    lost_leader: bool
    patience: float
    round: int
    held: deque[tuple[int, PeerNode, dict[str, Any]]]
    counts: dict[str, int]
    voters: frozenset[str]
    is_voter: bool
    observers: list[PeerNode]

    __selfNode: PeerNode
    __raftLeader: PeerNode | None
    __raftLog: MemoryLog
    __raftNextIndex: dict[PeerNode, int]
    __raftMatchIndex: dict[PeerNode, int]
    __lastResponseTime: dict[PeerNode, float]
    __transport: PeerTransport
    __numOneSecondDumps: int

    def __init__(self, me: PeerNode, others: list[PeerNode], log: MemoryLog, transport: PeerTransport) -> None:
        self.__newAppendEntriesTime = 0.0  # read by name before PySyncObj sets it
        self.__others: list[PeerNode] = []
        super().__init__(me, others, self.timings.configuration(log), nodeClass=None, transport=transport)
        self.__needLoadDumpFile = False

    # ---- what PySyncObj calls

    def __onMessageReceived(self, node: PeerNode, message: dict[str, Any]) -> None:
        self.receive(node, message)

    def __onNodeConnected(self, node: PeerNode) -> None:
        super().__onNodeConnected(node)
        self.connected(node)

    def __onNodeDisconnected(self, node: PeerNode) -> None:
        super().__onNodeDisconnected(node)
        self.disconnected(node)

    def __sendAppendEntries(self) -> None:
        self.send_appends()

    def __generateRaftTimeout(self) -> float:
        return self.random.uniform(self.timings.election_min, self.timings.election_max)

    def __doApplyCommand(self, command: bytes) -> None:
        index = self.__raftLastApplied + 1
        self.owner.apply(index, self.__raftLog[index - self.__raftLog[0][1]][2], command)

    def __setCurrentTerm(self, term: int, vote: str | None) -> None:
        self.__raftLog.setCurrentTerm(term, vote)  # safe before it is used; the base class does it the other way round
        self.__raftCurrentTerm, self.__votedForNodeId = term, vote

    # ---- what the mends use

    @property
    def me(self) -> PeerNode:
        """This peer."""
        return self.__selfNode

    @property
    def role(self) -> int:
        """FOLLOWER, CANDIDATE or LEADER."""
        return int(self.__raftState)

    def set_role(self, role: int) -> None:
        """Change the role and tell the owner."""
        if role != self.__raftState:
            self.__setState(role)
            self.owner.changed()

    @property
    def term(self) -> int:
        """The present term."""
        return int(self.__raftCurrentTerm)

    @property
    def vote(self) -> str | None:
        """Whom this peer voted for in the present term."""
        return self.__votedForNodeId

    def set_term(self, term: int, vote: str | None) -> None:
        """Remember term and vote on disk, then use them."""
        self.__setCurrentTerm(term, vote)

    @property
    def leader(self) -> PeerNode | None:
        """The leader of the present term, if known."""
        return self.__raftLeader

    def set_leader(self, leader: PeerNode | None) -> None:
        """Change who is followed and tell the owner."""
        if leader != self.__raftLeader:
            self.__raftLeader = leader
            self.owner.changed()

    @property
    def election_at(self) -> float:
        """When an election is due if no leader is heard."""
        return float(self.__raftElectionDeadline)

    @election_at.setter
    def election_at(self, at: float) -> None:
        self.__raftElectionDeadline = at

    def election_timeout(self) -> float:
        """A random wait between the shortest and the longest."""
        return self.__generateRaftTimeout()

    @property
    def log(self) -> MemoryLog:
        """The Raft log."""
        return self.__raftLog

    @property
    def commit_index(self) -> int:
        """Every entry up to this one is committed."""
        return int(self.__raftCommitIndex)

    def set_commit_index(self, index: int) -> None:
        """Commit up to this entry."""
        self.__raftCommitIndex = index
        self.__raftLog.setRaftCommitIndex(index)

    @property
    def applied_index(self) -> int:
        """Every entry up to this one is applied."""
        return int(self.__raftLastApplied)

    def set_applied_index(self, index: int) -> None:
        """The state was restored up to this entry."""
        self.__raftLastApplied = index

    def apply_committed(self) -> None:
        """Apply what is committed and not yet applied."""
        self.__applyLogEntries()

    @property
    def next_index(self) -> dict[PeerNode, int]:
        """The entry that each follower is sent next."""
        return self.__raftNextIndex

    @property
    def match_index(self) -> dict[PeerNode, int]:
        """The entry up to which each follower's log is known to agree."""
        return self.__raftMatchIndex

    @property
    def answered_at(self) -> dict[PeerNode, float]:
        """When each follower answered last."""
        return self.__lastResponseTime

    @property
    def others(self) -> list[PeerNode]:
        """The other voters in the order of their names (the base class keeps a set, whose order is random). It is
        replaced, never changed.
        """
        return self.__others

    def set_others(self, nodes: list[PeerNode]) -> None:
        """Change who the other voters are; connections and progress are the caller's."""
        self.__otherNodes, self.__others = set(nodes), sorted(nodes, key=lambda node: node.name)

    def is_connected(self, node: PeerNode) -> bool:
        """There is a connection to this peer."""
        return node in self.__connectedNodes

    def reaches_majority(self) -> bool:
        """There are connections to so many voters that this peer and they are a majority."""
        return 2 * (1 + len(self.__connectedNodes & self.__otherNodes)) > len(self.voters)

    @property
    def noop_index(self) -> int:
        """The first entry of the term that this peer leads; 0 before it has led."""
        return self.__noopIDx or 0

    @property
    def beat_at(self) -> float:
        """When the leader sends next even if there is nothing to say."""
        return float(self.__newAppendEntriesTime)

    @beat_at.setter
    def beat_at(self, at: float) -> None:
        self.__newAppendEntriesTime = at

    @property
    def transport(self) -> PeerTransport:
        """The network."""
        return self.__transport

    def take_leadership(self) -> None:
        """PySyncObj's part of becoming the leader: fresh indices, an empty entry, the first messages."""
        self.__onBecomeLeader()

    def second_passed(self, at: float) -> bool:
        """True once for each second since the start."""
        if at - self.__startTime <= self.__numOneSecondDumps:
            return False
        self.__numOneSecondDumps = int(at - self.__startTime) + 1
        return True

    # ---- what the other modules define

    def receive(self, node: PeerNode, message: dict[str, Any]) -> None:
        """A message from a connected peer."""
        raise NotImplementedError

    def connected(self, node: PeerNode) -> None:
        """A connection to this peer stands."""
        raise NotImplementedError

    def disconnected(self, node: PeerNode) -> None:
        """The connection to this peer is gone."""
        raise NotImplementedError

    def send_appends(self) -> None:
        """Send every follower what it lacks."""
        raise NotImplementedError


Seams = _SyncObj

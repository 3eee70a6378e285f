"""PySyncObj's Raft, mended and put together: one tick, and what belongs to no single mend."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from raftchaos import limits
from raftchaos.consensus.elections import Elections
from raftchaos.consensus.entries import Configuration, decode_configuration
from raftchaos.consensus.installation import Installation
from raftchaos.consensus.membership import Extra, Membership
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.reads import Reads
from raftchaos.consensus.replication import Progress, Replication
from raftchaos.consensus.seams import LEADER, NEVER, PeerTransport, RaftOwner, now
from raftchaos.consensus.snapshot import Snapshot, SnapshotStore
from raftchaos.consensus.spreading import Spreading
from raftchaos.consensus.storage import MemoryLog
from raftchaos.consensus.timings import Timings

UNCOMMITTED_ENTRIES: Final = 4 * limits.PROPOSALS_IN_FLIGHT
UNCOMMITTED_BYTES: Final = limits.LOG_BYTES_BEFORE_SNAPSHOT // 2
COUNTS: Final = "elections prevotes stepdowns truncated rejects appends chunks snapshots installed".split()  # noqa: SIM905
RAFT_MESSAGES: Final = [
    "pre_vote",
    "pre_vote_reply",
    "vote",
    "vote_reply",
    "timeout_now",
    "append",
    "append_reply",
    "heartbeat",
    "heartbeat_reply",
    "chunk",
    "chunk_reply",
]


class Raft(Elections, Replication, Spreading, Installation, Reads, Membership):
    """One peer's part of Raft. Not thread-safe; everything happens in the thread of the event loop.

    The log and the snapshot were checked, and the state machine restored from `snapshot`, before this is made.
    """

    def __init__(
        self,
        me: PeerNode,
        *,
        owner: RaftOwner,
        transport: PeerTransport,
        log: MemoryLog,
        snapshots: SnapshotStore,
        snapshot: Snapshot | None,
        timings: Timings,
        rng: random.Random,
        entries_before_snapshot: int = limits.LOG_ENTRIES_BEFORE_SNAPSHOT,
        bytes_before_snapshot: int = limits.LOG_BYTES_BEFORE_SNAPSHOT,
    ) -> None:
        self.owner, self.timings, self.random = owner, timings, rng
        self.snapshots = snapshots
        self.entries_before_snapshot, self.bytes_before_snapshot = entries_before_snapshot, bytes_before_snapshot
        self.extras: dict[str, Extra] = {}
        self.progress: dict[PeerNode, Progress] = {}
        self.heard_leader_at, self.lost_leader, self.patience = NEVER, False, 0.0
        self.round, self.held, self._unsigned, self._signed = 0, deque(), False, (0, 0, NEVER)
        self.counts = dict.fromkeys(
            (
                "elections",
                "prevotes",
                "stepdowns",
                "truncated",
                "rejects",
                "appends",
                "chunks",
                "snapshots",
                "installed",
            ),
            0,
        )
        self.hints, self.voters, self.is_voter, self.is_member = dict(log.hints), frozenset(), False, False
        self.observers: list[PeerNode] = []
        self._configurations: list[tuple[int, Configuration]] = []
        self._nodes: dict[str, PeerNode] = {}
        self._addresses: dict[str, str] = {}
        self._was_member = False
        self._votes, self._prevotes, self._prevote_round = set(), set(), 0
        self._waiting = deque()
        self._shared = None
        self._spread_at, self._spread_beat_at, self._spread_commit = NEVER, NEVER, 0
        self._uncommitted: deque[tuple[int, int]] = deque()
        self._uncommitted_bytes = 0
        self._hand_over_to: PeerNode | None = None
        self._handed_over = False
        self._ready_at: int | None = None
        self._handlers: dict[str, Callable[[PeerNode, dict[str, Any], float], None]] = {
            name: getattr(self, f"on_{name}") for name in RAFT_MESSAGES
        }
        super().__init__(me, [], log, transport)
        self._recover(snapshot)

    def _recover(self, snapshot: Snapshot | None) -> None:
        """Positions and configuration as the files say; uncommitted configurations count too."""
        last = 0
        if snapshot is not None:
            last = snapshot.key.last
            self.set_applied_index(last)
            self.set_commit_index(max(self.commit_index, last))
            self._configurations = [(snapshot.configuration_index, snapshot.configuration)]
        for content, index, _ in self.log.entries:
            configuration = decode_configuration(content) if index > last else None
            if configuration is not None:
                self._configurations.append((index, configuration))
        self._enact()
        if self.voters == {self.me.name}:
            self.election_at = now()  # nobody else to wait for

    # ---- the tick

    def _onTick(self, timeToWait: float = 0.0) -> None:
        """Do everything that is due. Called after each batch of messages and proposals, and by the timer."""
        at = now()
        if self.second_passed(at):
            self.log.onOneSecondTimer()
        if self.role != LEADER and at >= self.election_at:
            self.election_due(at)
        if self.role == LEADER:
            self._tick_as_leader(at)
        else:
            self.apply_committed()
        self.keep_promises()
        if self.role == LEADER and self.log.stable > self.commit_index and len(self.voters) == 1:
            self.owner.wake()
        self.finish_rounds()
        self._note_ready()
        self.compact_if_due()
        self.owner.ticked()

    def _tick_as_leader(self, at: float) -> None:
        self.advance_commit()
        self.check_quorum(at)
        self.dismiss_extras(at)
        self.apply_committed()
        if self.role != LEADER:
            return
        self.begin_round()
        self.send_appends()
        target = self._hand_over_to
        if target is not None and not self._handed_over and self.match_index.get(target) == self.log.last_index:
            self._handed_over = self.transport.send(target, {"type": "timeout_now", "term": self.term})

    def next_tick_at(self) -> float:
        """When the timer must tick next if nothing else happens."""
        return min(self.beat_at, self.spread_at()) if self.role == LEADER else self.election_at

    # ---- the network

    def receive(self, node: PeerNode, message: dict[str, Any]) -> None:
        """A checked message: Raft's own are handled here, all others by the owner."""
        handler = self._handlers.get(message["type"])
        if handler is None:
            self.owner.received(node.name, message)
        else:
            handler(node, message, now())

    def connected(self, node: PeerNode) -> None:
        """Begin to probe: what was in flight on the last connection is gone, and with durability *process* a peer whose
        machine lost power has forgotten entries that it had confirmed, so it has to confirm them again.
        """
        if self.role == LEADER and node in self.next_index:
            self.progress[node], self.match_index[node] = Progress(), 0
            self.send_to(node, now(), True)
        self.owner.changed()
        self.owner.wake()

    def disconnected(self, node: PeerNode) -> None:
        """Replace a leader that is gone at once."""
        self.progress.pop(node, None)
        if node == self.leader:
            self.leader_lost(node)
        self.owner.changed()

    # ---- leading

    def append(self, content: bytes) -> int | None:
        """Append an entry as the leader; its index, or None if it was certainly not appended."""
        if self.role != LEADER or self._hand_over_to is not None:
            return None
        if len(self._uncommitted) >= UNCOMMITTED_ENTRIES or self._uncommitted_bytes >= UNCOMMITTED_BYTES:
            return None
        index = self.log.last_index + 1
        self.log.add(content, index, self.term)
        self._uncommitted.append((index, len(content)))
        self._uncommitted_bytes += len(content)
        self.owner.wake()
        return index

    def forget_uncommitted(self, index: int) -> None:
        """Entries up to `index` are committed and no longer count against the bounds."""
        while self._uncommitted and self._uncommitted[0][0] <= index:
            self._uncommitted_bytes -= self._uncommitted.popleft()[1]

    def begin_term_as_leader(self) -> None:
        """Before the first entry of a term is appended."""
        self._uncommitted.clear()
        self._uncommitted_bytes = 0
        self.end_hand_over()
        self.begin_to_spread()

    def end_term_as_leader(self) -> None:
        """After leading: nobody waits any more, and peers that are no members are the next leader's."""
        self.fail_rounds()
        self.end_hand_over()
        for name in list(self.extras):
            self.drop_extra(name)

    def begin_hand_over(self, target: PeerNode) -> None:
        """Append nothing more, and let this voter stand as soon as it has everything."""
        self._hand_over_to, self._handed_over = target, False
        self.owner.wake()

    def end_hand_over(self) -> None:
        """Go on leading, if this peer still does."""
        self._hand_over_to, self._handed_over = None, False

    # ---- ready

    def note_leader_commit(self, index: int) -> None:
        """The first commit index heard after the start is what this peer has to catch up with."""
        if self._ready_at is None:
            self._ready_at = index

    def _note_ready(self) -> None:
        if self._ready_at is None and self.leader_ready:
            self._ready_at = self.commit_index

    @property
    def caught_up(self) -> bool:
        """It has applied everything that was committed when it first heard of a leader after its start."""
        return self._ready_at is not None and self.applied_index >= self._ready_at

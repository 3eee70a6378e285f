"""Snapshots: taking one, sending it to a follower that lags too far, and taking one in."""

from __future__ import annotations

import logging
from typing import Any, Final

from raftchaos import limits
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.replication import Contradiction, Progress
from raftchaos.consensus.seams import NEVER, Seams
from raftchaos.consensus.snapshot import Key, Snapshot
from raftchaos.errors import DataCorrupt

logger = logging.getLogger(__name__)
Message = dict[str, Any]

TRAIL_ENTRIES: Final = 1_000  # kept behind a snapshot, so that a follower a little behind needs no snapshot
TRAIL_BYTES: Final = limits.LOG_BYTES_BEFORE_SNAPSHOT // 4
INSTALLED: Final = -1


class Installation(Seams):
    """Takes the seat of PySyncObj's serializer, which pickles, blocks, and moves the commit index with each chunk."""

    entries_before_snapshot: int
    bytes_before_snapshot: int

    # ---- taking one

    def compact_if_due(self) -> None:
        """When the log has grown enough, write the state aside and then forget the entries that it contains."""
        log, applied = self.log, self.applied_index
        if self.snapshots.busy:
            return
        kept = applied - log.first_index
        if kept < self.entries_before_snapshot and (log.bytes < self.bytes_before_snapshot or kept < 2):
            if log.wasteful:
                log.compact(log.first_index)
            return
        if self.snapshots.key is not None and applied <= self.snapshots.key.last:
            return
        self.take_snapshot()

    def take_snapshot(self) -> None:
        """Write the state after the entry applied last."""
        at, configuration = self.configuration_at(self.applied_index)
        key = Key(self.applied_index, self.log[self.applied_index - self.log.first_index][2])
        data = Snapshot(key, configuration, at, self.owner.snapshot()).encode()
        self.counts["snapshots"] += 1
        self.snapshots.save(key, data, lambda: self._is_newer(key), lambda: self._forget_before(key.last))

    def _is_newer(self, key: Key) -> bool:
        return self.snapshots.key is None or key.last > self.snapshots.key.last

    def _forget_before(self, index: int) -> None:
        """Keep a short trail behind the snapshot."""
        log = self.log
        first = max(log.first_index, index - min(TRAIL_ENTRIES, self.entries_before_snapshot // 2))
        size = sum(len(entry[0]) for entry in log[first - log.first_index : index - log.first_index])
        while first < index and size > min(TRAIL_BYTES, self.bytes_before_snapshot // 4):
            size -= len(log[first - log.first_index][0])
            first += 1
        log.compact(first)
        self.configurations_forgotten(index)

    # ---- sending one

    def send_chunk(self, node: PeerNode, progress: Progress, at: float) -> None:
        """Send the next chunk, or the last one again if it was not acknowledged for an election timeout."""
        key = self.snapshots.key
        if key is None:
            raise Contradiction(f"the log begins with entry {self.log.first_index} and there is no snapshot before it")
        if progress.key != key:
            progress.key, progress.offset, progress.flow, progress.sent_at = key, 0, False, NEVER
        elif at - progress.sent_at < self.timings.election_min:
            return
        data, last = self.snapshots.chunk(progress.offset)
        self.counts["chunks"] += 1
        progress.sent_at, progress.sent_round = at, self.round
        self.transport.send(
            node,
            {
                "type": "chunk",
                "term": self.term,
                "key": tuple(key),
                "offset": progress.offset,
                "data": data,
                "last": last,
                "round": self.round,
            },
        )

    def on_chunk_reply(self, node: PeerNode, m: Message, at: float) -> None:
        """The follower wants the chunk at an offset, or has it all."""
        progress = self.answered(node, m, at)
        if progress is None or progress.key is None or m["key"] != progress.key:
            return
        if m["want"] == INSTALLED:
            progress.key = None
            self.match_index[node] = max(self.match_index[node], m["key"][0])
            self.next_index[node] = max(self.next_index[node], m["key"][0] + 1)
        else:
            progress.offset = m["want"]
        progress.sent_at = NEVER
        self.send_to(node, at, True)
        self.owner.wake()

    # ---- taking one in

    def on_chunk(self, node: PeerNode, m: Message, at: float) -> None:
        """Collect a chunk. It never moves the commit index; only the whole, checked and stored snapshot does."""
        if not self.follow(node, m["term"], at):
            return
        key = Key(*m["key"])
        reply = {"type": "chunk_reply", "term": self.term, "key": tuple(key), "round": m["round"]}
        if key.last <= self.commit_index:
            self.promise(key.last, node, {**reply, "want": INSTALLED})
            return
        if self.snapshots.busy:
            return  # it is being written; the leader sends this chunk again
        taken = self.snapshots.receive(key, m["offset"], m["data"], m["last"])
        if isinstance(taken, int):
            self.transport.send(node, {**reply, "want": taken})
            return
        data = taken

        def done() -> None:
            self._installed(data)
            if self.term == reply["term"]:
                self.promise(key.last, node, {**reply, "want": INSTALLED})

        self.snapshots.save(key, data, lambda: key.last > self.commit_index and self._restore(data), done)

    def _restore(self, data: bytes) -> bool:
        """The state machine judges the state before the stored snapshot is replaced."""
        snapshot = Snapshot.decode(data)
        try:
            self.owner.restore(snapshot.state)
        except ValueError as error:
            raise DataCorrupt(
                f"the snapshot that leader {self.leader} sent is not believable: {error}",
                hint="the peers may run different versions of raftchaos; bring them to the same one",
            ) from error
        return True

    def _installed(self, data: bytes) -> None:
        snapshot = Snapshot.decode(data)
        last, term = snapshot.key
        log = self.log
        place = last - log.first_index
        if 0 <= place < len(log) and log[place][2] == term:
            log.flush()  # the log goes on beyond the snapshot: keep that
        else:
            log.reset(last, term)
        self.set_applied_index(last)
        self.set_commit_index(max(self.commit_index, last))
        self.configurations_restored(snapshot.configuration_index, snapshot.configuration, last)
        self.counts["installed"] += 1
        self.owner.wake()

"""How the log reaches the followers, and when an entry counts as committed."""

from __future__ import annotations

import bisect
from typing import Any, Final

from raftchaos.consensus.entries import LogEntry
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.seams import LEADER, NEVER, Seams, now

Message = dict[str, Any]

PENDING: Final = 2 * 1024 * 1024  # bytes queued for one follower above which it only gets heartbeats
BATCH_ENTRIES: Final = 2_048
BATCH_BYTES: Final = 256 * 1024


class Contradiction(AssertionError):
    """A leader contradicts what is committed: the guarantee of Raft is broken, and this replica stops."""


class Progress:
    """What the leader knows of one follower: it is probed one message at a time, or sent a stream (`flow`), or a
    snapshot chunk by chunk (`key` is set).
    """

    __slots__ = ("commit_due", "flow", "key", "offset", "round", "sent_at", "sent_commit", "sent_round")

    def __init__(self) -> None:
        self.flow = False
        self.sent_at = NEVER
        self.offset = 0
        self.key: tuple[int, int] | None = None
        self.round = 0
        self.sent_round = 0
        self.sent_commit = 0
        self.commit_due = 0


class Replication(Seams):
    """Appends, answers and commitment."""

    _unsigned: bool
    _signed: tuple[int, int, float]
    _shared: tuple[tuple[int, ...], Message] | None
    """The append that was made last, and what it says."""

    # ---- leader

    def advance_commit(self) -> None:
        """Commit what a majority of the voters holds, if the last of it is of this term."""
        voters = self.voters
        known = sorted((self.match_index.get(node, 0) for node in self.others), reverse=True)
        if self.is_voter:
            bisect.insort(known, self.log.stable, key=lambda index: -index)
        if not voters or len(known) < len(voters):
            return
        index = known[len(voters) // 2]
        if index > self.commit_index and self.log[index - self.log.first_index][2] == self.term:
            self.set_commit_index(index)
            self.forget_uncommitted(index)

    def send_appends(self) -> None:
        """To everyone connected: what is missing, or at least a sign of life when it is due."""
        at = now()
        beat = at >= self.beat_at
        if beat:
            self.beat_at = at + self.timings.append_period
        for node in self.receivers():
            if self.is_connected(node):
                self.send_to(node, at, beat)
        self.spread()

    def send_to(self, node: PeerNode, at: float, beat: bool) -> None:
        """Send one follower what it lacks, then a heartbeat if it has not got this round's number by that."""
        progress = self.progress.setdefault(node, Progress())
        if self.next_index[node] <= self.log.first_index:
            self.send_chunk(node, progress, at)
        else:
            self._stream(node, progress, at, beat)
        if beat or progress.sent_round < self.round:
            if progress.sent_round < self.round or at - progress.sent_at >= self.timings.append_period / 2:
                self.transport.send(node, {"type": "heartbeat", "term": self.term, "round": self.round})
            progress.sent_round = self.round

    def _stream(self, node: PeerNode, progress: Progress, at: float, beat: bool) -> None:
        sent = False
        last = self._last_for(node)
        while self.is_connected(node):
            index = self.next_index[node]
            if not progress.flow and not beat and at - progress.sent_at < self.timings.append_period:
                return  # probing: one at a time
            upto = index - 1
            if index <= last and ((beat and not sent) or self.transport.pending(node) < PENDING):
                upto = last
            told = progress.sent_commit >= self.commit_index and progress.sent_round >= self.round
            if upto < index and (sent or (progress.flow and not beat and told)):
                return
            if upto < index and progress.flow and not beat and self._only_commit_is_new(progress):
                return
            self.counts["appends"] += 1
            message = self._append(index, upto)
            self.transport.send(node, message)
            sent, progress.sent_at = True, at
            progress.sent_round, progress.sent_commit = self.round, self.commit_index
            if not progress.flow:
                return
            self.next_index[node] = index + len(message["entries"])

    def _only_commit_is_new(self, progress: Progress) -> bool:
        """It is told in the next turn of the loop: those who are answered in this one may have more to say, and then
        one message says both.
        """
        if progress.sent_round < self.round or progress.commit_due == self.commit_index:
            return False
        progress.commit_due = self.commit_index
        self.owner.wake()
        return True

    def _last_for(self, node: PeerNode) -> int:
        """The last entry that this follower may be sent now."""
        return self.commit_index if self.is_spread_to(node) else self.log.last_index

    def _append(self, index: int, last: int) -> Message:
        """The entries from `index` to `last`, or as many as one message takes. Everyone who lacks the same is sent the
        same object, which the transport encodes once.
        """
        says = (self.term, self.commit_index, self.round, index, last)
        if self._shared is None or self._shared[0] != says:
            log = self.log
            message = {
                "type": "append",
                "term": self.term,
                "commit": self.commit_index,
                "prev": index - 1,
                "prev_term": log[index - 1 - log.first_index][2],
                "entries": self._batch(index, last),
                "round": self.round,
            }
            self._shared = (says, message)
        return self._shared[1]

    def _batch(self, index: int, last: int) -> list[LogEntry]:
        start = index - self.log.first_index
        entries: list[LogEntry] = self.log[start : min(start + BATCH_ENTRIES, last + 1 - self.log.first_index)]
        size = 0
        for count, entry in enumerate(entries):
            size += len(entry[0])
            if size >= BATCH_BYTES:
                return entries[: count + 1]
        return entries

    def on_append_reply(self, node: PeerNode, m: Message, at: float) -> None:
        """A follower says up to where it agrees, or where to try next."""
        progress = self.answered(node, m, at)
        if progress is None:
            return
        match = self.match_index[node]
        if m["success"]:
            match = self.match_index[node] = max(match, m["next"] - 1)
            found = not progress.flow
            if found:
                progress.flow, progress.key = True, None
                self.next_index[node] = match + 1
            else:
                self.next_index[node] = max(self.next_index[node], match + 1)
            if self.next_index[node] <= self._last_for(node) and (found or not self.is_spread_to(node)):
                self.send_to(node, at, False)
        elif m["prev"] > match and progress.key is None and (progress.flow or m["prev"] == self.next_index[node] - 1):
            self._walk_back(node, progress, m, at)
        self.owner.wake()

    def _walk_back(self, node: PeerNode, progress: Progress, m: Message, at: float) -> None:
        """Skip a whole term at once: PySyncObj goes back one entry an append period."""
        self.counts["rejects"] += 1
        progress.flow = False
        hint = m["next"]
        if m["conflict"]:
            first = self.log.first_index
            end = first + bisect.bisect_right(self.log.entries, m["conflict"], key=lambda entry: entry[2])
            hint = max(hint, min(end, m["prev"]))
        wanted = min(hint, m["prev"], self.log.last_index + 1)
        self.next_index[node] = max(self.match_index[node] + 1, wanted)
        self.send_to(node, at, True)

    def answered(self, node: PeerNode, m: Message, at: float) -> Progress | None:
        """Every answer carries its term. Only one of the leader's own term says anything to it; None otherwise."""
        if m["term"] > self.term:
            self.step_down(m["term"], at)
            return None
        if self.role != LEADER or m["term"] != self.term or node not in self.match_index:
            return None
        self.answered_at[node] = at
        progress: Progress = self.progress.setdefault(node, Progress())
        progress.round = max(progress.round, m["round"])
        return progress

    def on_heartbeat_reply(self, node: PeerNode, m: Message, at: float) -> None:
        """A follower is there, and follows."""
        if self.answered(node, m, at) is not None:
            self.owner.wake()

    # ---- follower

    def on_heartbeat(self, node: PeerNode, m: Message, at: float) -> None:
        """The leader is there. It says nothing about the log, so it moves no index."""
        if self.follow(node, m["term"], at):
            self.transport.send(node, {"type": "heartbeat_reply", "term": self.term, "round": m["round"]})

    def on_append(self, node: PeerNode, m: Message, at: float) -> None:
        """Take the entries that are missing, and answer for exactly what this message verified."""
        if not self.follow(node, m["term"], at):
            return
        self.note_leader_commit(m["commit"])
        prev, entries, log = m["prev"], m["entries"], self.log
        reply = {"type": "append_reply", "term": self.term, "round": m["round"], "prev": prev, "conflict": 0}
        first, last = log.first_index, log.last_index
        if prev > last:
            self.transport.send(node, {**reply, "success": False, "next": last + 1})
            return
        if prev < first:  # what the snapshot holds is committed, so it matches
            entries = [entry for entry in entries if entry[1] > first]
        elif log[prev - first][2] != m["prev_term"]:
            self._reject(node, reply, log[prev - first][2])
            return
        match = max(first, prev + len(m["entries"]))
        self._take(entries)
        reply.update(success=True, next=match + 1)
        if match > log.stable:
            self.promise(match, node, reply)
        else:
            self.transport.send(node, reply)
        commit = min(m["commit"], match)  # nothing beyond `match` is known to agree
        if commit > self.commit_index:
            self.set_commit_index(commit)
            self.owner.wake()

    def _reject(self, node: PeerNode, reply: Message, term: int) -> None:
        first = self.log.first_index
        start = first + bisect.bisect_left(self.log.entries, term, key=lambda entry: entry[2])
        start = max(start, self.commit_index + 1)  # committed entries match
        self.transport.send(node, {**reply, "success": False, "next": start, "conflict": term})

    def _take(self, entries: list[LogEntry]) -> None:
        """Skip what matches; delete at the first conflict only. PySyncObj truncates what agrees, too, and with it
        entries that were acknowledged.
        """
        log = self.log
        for entry in entries:
            place = entry[1] - log.first_index
            if place < len(log):
                if log[place][2] == entry[2]:
                    continue
                self._truncate(entry[1])
            log.add(*entry)
            self.entry_added(entry)

    def _truncate(self, index: int) -> None:
        if index <= self.commit_index:
            raise Contradiction(
                f"leader {self.leader} of term {self.term} replaces entry {index}; {self.commit_index} is committed"
            )
        self.counts["truncated"] += self.log.last_index + 1 - index
        self.log.deleteEntriesFrom(index - self.log.first_index)
        self.entries_truncated(index)

    # ---- durability

    def promise(self, index: int, node: PeerNode, message: Message) -> None:
        """Send this once the log is safe up to `index`."""
        self.held.append((index, node, message))
        self._unsigned = True
        self.owner.wake()

    def keep_promises(self) -> None:
        """Make the log safe, or begin to, and let go the promises that are safe. Raises OSError if it cannot be
        written.
        """
        self.log.flush()
        stable, held = self.log.stable, self.held
        while held:
            index, node, message = held[0]
            if message["term"] == self.term:
                if index > stable:
                    break
                self.transport.send(node, message)
            held.popleft()  # one of an earlier term may speak of entries that were replaced since
        if held and self._unsigned:
            self._show_life(*held[-1][1:])
        self._unsigned = False

    def _show_life(self, node: PeerNode, message: Message) -> None:
        """The disk is slow and the leader waits: tell it at once that this peer is there and follows."""
        at, (term, round_, since) = now(), self._signed
        if (message["term"], message["round"]) != (term, round_) or at - since >= self.timings.append_period / 2:
            self._signed = message["term"], message["round"], at
            self.transport.send(node, {"type": "heartbeat_reply", "term": self.term, "round": message["round"]})

"""Raft's promises: a committed entry is on a majority of the voters at every instant, never changes, and is in every
later leader's log; who only observes neither leads nor counts. What a peer has is what would still be there if it were
killed now.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from raftchaos.consensus.raft import Raft
from raftchaos.consensus.seams import FOLLOWER, LEADER
from raftchaos.consensus.storage import MemoryLog

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.peer import PeerProcess


class LogCheck:
    """Remembers every committed entry."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self.committed: dict[int, tuple[int, int]] = {}
        """Term and checksum of each committed entry, by its index."""
        self.newest = 2
        self._committed_in: dict[int, int] = {}
        """The newest entry that was committed in each term, by its leader or by whoever heard of it first."""
        self._logs: dict[str, MemoryLog] = {}
        """The log of each machine, of its dead process if none runs: up to `stable` it is on the disk."""
        self._seen: dict[str, int] = {}
        self._leads: dict[str, int] = {}
        self._voted: dict[str, tuple[int, str | None]] = {}
        self._leaders: dict[int, str] = {}

    def forget(self, name: str) -> None:
        """This machine's disk is a new one."""
        self._logs.pop(name, None)

    def can_lose(self, name: str) -> bool:
        """The log of this machine could be lost without harm: the rest of the voters could decide without it, and hold
        all that it has told anybody that it holds. Only then has Raft promised anything to one that forgets.
        """
        log, leader = self._logs.get(name), self._cluster.leader()
        if log is None or leader is None or leader.name == name:
            return False
        raft = leader.replica.raft
        if log.last_index > raft.commit_index or raft.configuration_index > raft.commit_index:
            return False
        holders = [each for each in raft.voters if each != name and self._holds(each, log.last_index, raft.log)]
        return 2 * len(holders) > len(raft.voters)

    def peer_started(self, peer: PeerProcess) -> None:
        """What it had handed to the kernel must be there again."""
        old, new = self._logs.get(peer.name), peer.replica.raft.log
        if old is not None and old.entries:
            last = min(old.stable, self.newest)
            if new.first_index <= last and not _has(new, last, old):
                self._world.violated("LOG", f"{peer.name} has lost entry {last} in a restart")
            if new.term < old.term:
                self._world.violated("LOG", f"{peer.name} has forgotten term {old.term}, it has {new.term}")
            if new.term == old.term and old.vote is not None and new.vote != old.vote:
                self._world.violated("LOG", f"{peer.name} has forgotten its vote in term {old.term}")
        self._logs[peer.name] = new
        self._seen[peer.name] = peer.replica.raft.commit_index
        self._leads[peer.name] = -1

    def peer_ended(self, peer: PeerProcess) -> None:
        """Its log stays as it is."""
        self._leads[peer.name] = -1

    def turned(self, peer: PeerProcess) -> None:
        """Look whether it leads, has voted, or has committed something."""
        raft = peer.replica.raft
        if raft.role != FOLLOWER and not raft.is_voter:
            self._world.violated("LOG", f"{peer.name} stands or leads in term {raft.term} without a vote")
        if self._voted.get(peer.name) != (raft.term, raft.vote):
            self._voted[peer.name] = raft.term, raft.vote
            self._votes(peer, raft)
        if raft.role == LEADER and self._leads[peer.name] != raft.term:
            self._leads[peer.name] = raft.term
            self._begins_to_lead(peer, raft)
        if raft.commit_index > self._seen[peer.name]:
            self._commits(peer, raft)

    def _votes(self, peer: PeerProcess, raft: Raft) -> None:
        """One that does not know of its vote yet may be asked for it, but only by somebody who does."""
        if raft.vote is None or raft.is_voter:
            return
        candidate = next((other.replica.raft for other in self._cluster.peers() if other.name == raft.vote), None)
        if candidate is not None and candidate.term == raft.term:
            known = [configuration.voters for _, configuration in candidate._configurations]
            if not any(peer.name in voters for voters in known):
                self._world.violated("LOG", f"{peer.name} observes, and {raft.vote} asked for its vote")

    def _begins_to_lead(self, peer: PeerProcess, raft: Raft) -> None:
        self._world.note(peer.name, f"leads in term {raft.term}")
        if self._leaders.setdefault(raft.term, peer.name) != peer.name:
            self._world.violated("LOG", f"term {raft.term} has two leaders: {self._leaders[raft.term]} and {peer.name}")
        newest = max((index for term, index in self._committed_in.items() if term < raft.term), default=0)
        if newest > raft.log.first_index and self._print(raft.log, newest) != self.committed[newest]:
            self._world.violated("LOG", f"{peer.name} leads in term {raft.term} without the committed entry {newest}")

    def _commits(self, peer: PeerProcess, raft: Raft) -> None:
        log = raft.log
        # The first entry of a log may stand for the end of a snapshot, without its content.
        for index in range(max(self._seen[peer.name], log.first_index) + 1, raft.commit_index + 1):
            found = self._print(log, index)
            if self.committed.setdefault(index, found) != found:
                self._world.violated(
                    "LOG", f"{peer.name} has committed another entry {index} than was committed before"
                )
            if index > self.newest:
                self.newest = self._committed_in[raft.term] = index
                self._on_a_majority(peer, raft, index)
        self._seen[peer.name] = raft.commit_index

    def _on_a_majority(self, peer: PeerProcess, raft: Raft, index: int) -> None:
        """Of the voters of its newest configuration; of those of the one before if the newest came after this entry: it
        may have been appended just after this one was committed."""
        known = raft._configurations[-2:] if index < raft.configuration_index else raft._configurations[-1:]
        voters = [set(configuration.voters) for _, configuration in known]
        holders = [{name for name in names if self._holds(name, index, raft.log)} for names in voters]
        if all(2 * len(held) <= len(names) for held, names in zip(holders, voters, strict=True)):
            held, names = sorted(holders[-1]), sorted(voters[-1])
            self._world.violated("LOG", f"{peer.name} has committed entry {index}, which only {held} of {names} hold")

    def _holds(self, name: str, index: int, like: MemoryLog) -> bool:
        log = self._logs.get(name)
        if log is None or index > log.stable:
            return False
        return index < log.first_index or _has(log, index, like)

    @staticmethod
    def _print(log: MemoryLog, index: int) -> tuple[int, int]:
        place = index - log.first_index
        if not 0 <= place < len(log.entries):
            return (-1, 0)
        content, _, term = log.entries[place]
        return term, zlib.crc32(content)


def _has(log: MemoryLog, index: int, like: MemoryLog) -> bool:
    """Whether the log holds the entry that the other one has at this index."""
    place, other = index - log.first_index, index - like.first_index
    if not 0 <= other < len(like.entries):
        return True
    return 0 <= place < len(log.entries) and log.entries[place][2] == like.entries[other][2]

"""Who leads: pre-vote, votes counted by name, stickiness, and a quick replacement of a leader that died."""

from __future__ import annotations

from typing import Any

from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.seams import CANDIDATE, FOLLOWER, LEADER, NEVER, Seams, now

Message = dict[str, Any]


class Elections(Seams):
    """Elections as Raft has them, with what PySyncObj leaves out."""

    _votes: set[str]
    _prevotes: set[str]
    _prevote_round: int

    def _majority(self) -> int:
        return len(self.voters) // 2 + 1

    def _won(self, names: set[str]) -> bool:
        return len(names & self.voters) >= self._majority()

    def _position(self) -> tuple[int, int]:
        """Term and index of the last entry: the longer log is the greater one."""
        _, index, term = self.log.entries[-1]
        return term, index

    def hears_leader(self, at: float) -> bool:
        """Leads, or heard the leader within the shortest election timeout: nobody else is wanted then."""
        if self.role == LEADER:
            return True
        return self.leader is not None and at - self.heard_leader_at < self.timings.election_min

    # ---- standing

    def election_due(self, at: float) -> None:
        """No leader was heard in time. Ask first whether an election could be won: raising the term of a cluster that
        has a leader would depose it for nothing.
        """
        if self.lost_leader:  # its connection broke: ask again soon, then less often
            self.patience = min(max(self.patience * 2, 0.02), self.timings.election_min)
            self.election_at = at + self.patience * (1 + self.random.random())
        else:
            self.election_at = at + self.election_timeout()
        if not self.is_voter:
            return self._forget_silent_leader(at)
        reachable = {node.name for node in self.others if self.is_connected(node)} | {self.me.name}
        if not self._won(reachable):
            return None
        self._prevote_round += 1
        self._prevotes = {self.me.name}
        if self._won(self._prevotes):
            return self.stand(at, handed_over=False)
        self.counts["prevotes"] += 1
        last_term, last_index = self._position()
        question = {
            "type": "pre_vote",
            "term": self.term + 1,
            "last_term": last_term,
            "last_index": last_index,
            "round": self._prevote_round,
        }
        for node in self.others:
            self.transport.send(node, question)
        return None

    def _forget_silent_leader(self, at: float) -> None:
        """A voter asks for votes and so learns how things are; whoever has no vote must not believe for ever."""
        if at - self.heard_leader_at > self.timings.silence:
            self.set_leader(None)

    def stand(self, at: float, *, handed_over: bool) -> None:
        """Stand for election in a new term."""
        self.counts["elections"] += 1
        self._prevotes = set()
        self.election_at = at + self.election_timeout()
        self.set_term(self.term + 1, self.me.name)
        self.set_leader(None)
        self.set_role(CANDIDATE)
        self._votes = {self.me.name}
        last_term, last_index = self._position()
        request = {
            "type": "vote",
            "term": self.term,
            "last_term": last_term,
            "last_index": last_index,
            "handed_over": handed_over,
        }
        for node in self.others:
            self.transport.send(node, request)
        if self._won(self._votes):
            self._lead()

    def _lead(self) -> None:
        self.progress.clear()
        self.round = 0
        self.heard_leader_at = NEVER
        self.begin_term_as_leader()
        self.take_leadership()
        self.owner.changed()
        self.owner.wake()

    def step_down(self, term: int, at: float) -> None:
        """Become a follower without a leader, in this term if it is newer than the present one."""
        if term > self.term:
            self.set_term(term, None)
        led = self.role == LEADER
        if self.role != FOLLOWER:  # the base class keeps the old deadline, which has passed: it would stand at once
            self.election_at = at + self.election_timeout()
        self.set_role(FOLLOWER)
        self.set_leader(None)
        self.heard_leader_at = NEVER
        if led:
            self.counts["stepdowns"] += 1
            self.end_term_as_leader()
        self.owner.wake()

    def check_quorum(self, at: float) -> None:
        """A leader that a majority does not answer must not believe in itself for long."""
        since = at - self.timings.fallback
        alive = {node.name for node in self.others if self.answered_at.get(node, NEVER) > since} | {self.me.name}
        if not self._won(alive):
            self.step_down(0, at)

    # ---- voting

    def on_pre_vote(self, node: PeerNode, m: Message, at: float) -> None:
        """Would this peer vote for that one? Promises nothing."""
        granted = (
            m["term"] > self.term
            and not self.hears_leader(at)
            and (m["last_term"], m["last_index"]) >= self._position()
        )
        reply = {"type": "pre_vote_reply", "term": self.term, "round": m["round"], "granted": granted}
        self.transport.send(node, reply)

    def on_pre_vote_reply(self, node: PeerNode, m: Message, at: float) -> None:
        """A majority that would vote for this peer lets it stand."""
        if m["term"] > self.term:
            return self.step_down(m["term"], at)
        if m["granted"] and m["round"] == self._prevote_round and self._prevotes:
            self._prevotes.add(node.name)
            if self._won(self._prevotes) and self.role != LEADER and not self.hears_leader(at):
                self.stand(at, handed_over=False)
        return None

    def on_vote(self, node: PeerNode, m: Message, at: float) -> None:
        """A candidate asks. Whoever hears a leader keeps it, unless that leader itself handed over."""
        granted = False
        if m["term"] >= self.term and (m["handed_over"] or not self.hears_leader(at)):
            if m["term"] > self.term:
                self.step_down(m["term"], at)
            granted = (
                self.role == FOLLOWER
                and self.vote in (None, node.name)
                and (m["last_term"], m["last_index"]) >= self._position()
            )
            if granted:
                self.set_term(self.term, node.name)
                self.election_at = at + self.election_timeout()
        self.transport.send(node, {"type": "vote_reply", "term": self.term, "granted": granted})

    def on_vote_reply(self, node: PeerNode, m: Message, at: float) -> None:
        """Votes are counted by name: PySyncObj adds one for each answer, and one peer could answer twice."""
        if m["term"] > self.term:
            return self.step_down(m["term"], at)
        if self.role == CANDIDATE and m["term"] == self.term and m["granted"]:
            self._votes.add(node.name)
            if self._won(self._votes):
                self._lead()
        return None

    def on_timeout_now(self, node: PeerNode, m: Message, at: float) -> None:
        """The leader hands over: stand at once, without asking."""
        if m["term"] == self.term and node == self.leader and self.is_voter:
            self.stand(at, handed_over=True)

    # ---- following

    def follow(self, node: PeerNode, term: int, at: float) -> bool:
        """True if `node` leads in `term` and is followed from now on; False if it is behind, and then it is told so."""
        if term < self.term:
            self.transport.send(node, {"type": "heartbeat_reply", "term": self.term, "round": 0})
            return False
        if term > self.term:
            self.step_down(term, at)
        self.election_at = at + self.election_timeout()
        self.heard_leader_at, self.lost_leader = at, False
        self.set_role(FOLLOWER)
        self.set_leader(node)
        return True

    def leader_lost(self, node: PeerNode) -> None:
        """The leader's connection broke, which the kernel tells at once when it died: do not wait for the timeout.

        Voters take turns in the order of their names, so that one stands first and the others hear it.
        """
        self.set_leader(None)
        self.heard_leader_at = NEVER
        if self.role == FOLLOWER and self.is_voter:
            rank = sorted(self.voters - {node.name}).index(self.me.name)
            wait = rank * self.timings.failover_step + self.random.random() * self.timings.failover_jitter
            self.lost_leader, self.patience = True, 0.0
            self.election_at = now() + wait
            self.owner.wake()

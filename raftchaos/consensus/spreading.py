"""How the log reaches observers: what is committed, many entries at once, few signs of life.

Nothing waits for an observer, and there may be many of them. Voters are sent an entry when it is appended, are told
when it is committed, and confirm every round. If observers were treated the same, each write would cost the leader two
messages and two answers for each of them, and each ping of each of them a message to all the others. So an observer is
sent only what is committed, in one message, and all of them together no more than so many messages a second.
"""

from __future__ import annotations

from typing import Final

from raftchaos import limits
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.seams import Seams, now

SPREAD_BEAT: Final = 5
"""Periods of the leader's messages between two that say nothing new to an observer: it stands for no election."""


class Spreading(Seams):
    """The leader's side; an observer answers as any follower does."""

    observers: list[PeerNode]
    _spread_at: float
    _spread_beat_at: float
    _spread_commit: int

    def begin_to_spread(self) -> None:
        """This peer leads from now on: let every observer know at once. It has what is committed, and little else."""
        self._spread_at = self._spread_beat_at = now()
        for node in self.observers:
            self.start_sending(node, self.commit_index + 1)

    def spread(self) -> None:
        """Send every observer what was committed since the last time, if it is time for that."""
        at = now()
        if not self.observers or at < self.spread_at():
            return
        beat = at >= self._spread_beat_at
        if beat:
            self._spread_beat_at = at + SPREAD_BEAT * self.timings.append_period
        self._spread_at = at + len(self.observers) / limits.OBSERVER_MESSAGES
        self._spread_commit = self.commit_index
        for node in self.observers:
            if self.is_connected(node) and self.is_spread_to(node):
                self.send_to(node, at, beat)

    def spread_at(self) -> float:
        """When the next message to observers is due."""
        if not self.observers:
            return float("inf")
        return self._spread_at if self.commit_index > self._spread_commit else self._spread_beat_at

"""Confirming that this peer still leads, without writing to the log.

A round is a number that every message of the leader carries and every answer returns. A call is confirmed once a
majority has answered a round that began after it, in the leader's own term.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from raftchaos.consensus.seams import LEADER, Seams

Confirmed = Callable[[int | None], None]
"""Called with the commit index, or with None if this peer does not lead (any more)."""


class _Waiting(NamedTuple):
    round: int
    commit: int
    confirmed: Confirmed


class Reads(Seams):
    """Rounds of confirmation, shared by all that wait."""

    _waiting: deque[_Waiting]

    @property
    def leader_ready(self) -> bool:
        """Leads, and an entry of its own term is committed and applied."""
        return self.role == LEADER and self.applied_index >= self.noop_index

    def confirm(self, confirmed: Confirmed) -> None:
        """Ask a majority of the voters whether this peer still leads."""
        if self.role != LEADER:
            confirmed(None)
            return
        # Until an entry of the own term is committed, the commit index may lag behind what the last leader answered.
        index = max(self.commit_index, self.noop_index)
        self._waiting.append(_Waiting(self.round + 1, index, confirmed))
        self.owner.wake()

    def begin_round(self) -> bool:
        """Begin the next round if somebody waits for it."""
        if self._waiting and self._waiting[-1].round > self.round:
            self.round += 1
            return True
        return False

    def finish_rounds(self) -> None:
        """Answer everyone whose round a majority has confirmed."""
        if not self._waiting or self.role != LEADER or not self.leader_ready:
            return
        rounds = [self.progress[node].round if node in self.progress else 0 for node in self.others]
        if self.is_voter:
            rounds.append(self.round)
        if not self.voters or len(rounds) < len(self.voters):
            return
        reached = sorted(rounds, reverse=True)[len(self.voters) // 2]
        while self._waiting and self._waiting[0].round <= reached:
            waiting = self._waiting.popleft()
            waiting.confirmed(waiting.commit)

    def fail_rounds(self) -> None:
        """This peer leads no more: nobody waiting was confirmed."""
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            each.confirmed(None)

"""What clients saw: writes and strong reads are linearizable, other reads never go back, and an answered submit ends.

The replicated state is one register whose versions are numbered by the log. So a history is linearizable if each answer
carries a version that is not older than any version that was answered before the question was asked, and if a write
carries a newer one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raftchaos.core.history import load

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.peer import PeerProcess


@dataclass
class Session:
    """One client: what it has seen so far."""

    name: str
    seen: int = 0


@dataclass
class HistoryCheck:
    """The history of all clients."""

    cluster: Cluster
    newest_answered: int = 0
    accepted: dict[str, float] = field(default_factory=dict)
    """Tasks whose submit was answered, and when."""
    answers: int = 0

    def asked(self) -> int:
        """To be called when a question is asked; the answer is held against it."""
        return self.newest_answered

    def written(self, asked: int, index: int, what: str) -> None:
        """A write was answered."""
        if index <= asked:
            self._violated(f"{what} was answered with entry {index}, but {asked} was answered before it was asked")
        self._answered(index)

    def read_strongly(self, asked: int, index: int) -> None:
        """A strong read was answered."""
        if index < asked:
            self._violated(f"a strong read saw entry {index}, but {asked} was answered before it was asked")
        self._answered(index)

    def read(self, session: Session, index: int) -> None:
        """A read was answered that asked for at least what its client had seen."""
        if index < session.seen:
            self._violated(f"{session.name} has seen entry {session.seen} and then read {index}")
        session.seen = max(session.seen, index)

    def submitted(self, task: str) -> None:
        """The submit of a task was answered: it must end, as long as a majority comes back."""
        self.accepted.setdefault(task, self.cluster.world.now)

    def unfinished(self, peer: PeerProcess) -> list[str]:
        """Accepted tasks that have not ended, as this peer knows."""
        state = peer.state.state
        return [task for task in self.accepted if task not in state.finished]

    def endings(self, peer: PeerProcess) -> dict[str, str]:
        """How the accepted tasks have ended."""
        finished = peer.state.state.finished
        return {task: str(load(finished[task])["status"]) for task in self.accepted if task in finished}

    def _answered(self, index: int) -> None:
        self.answers += 1
        self.newest_answered = max(self.newest_answered, index)

    def _violated(self, text: str) -> None:
        self.cluster.world.violated("HISTORY", text)

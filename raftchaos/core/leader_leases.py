"""The leases of all nodes, as one leader sees them during one term.

The leader keeps no lease ends: it only knows when the last ping arrived that it could still answer. A node's lease ends
at most `limits.LEASE` after it sent that ping, so `limits.FAILURE_AFTER` later everything it did is taken back, on
whatever clock. What this object promises: once it has named a node in a `NodeFailed`, no ping of that incarnation is
answered before the node itself has applied that command.

A new leader starts from nothing. It has answered no ping, and whatever the leaders before it answered was sent before
its election; so it waits out the same time from there. All instants are boot seconds of the leader's machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from raftchaos import limits
from raftchaos.core.answers import clip
from raftchaos.core.commands import Command, NodeActive, NodeDegraded, NodeFailed
from raftchaos.core.state import ClusterState
from raftchaos.model.nodes import Node, NodeStatus
from raftchaos.model.runs import Run, RunId, RunStatus


class PingVerdict(StrEnum):
    """What became of a ping when it arrived."""

    WAITING = "waiting"
    """It is answered after the next round, unless something comes between."""
    UNKNOWN = "unknown"
    """No node of this name is registered."""
    FOREIGN = "foreign"
    """Another incarnation or data directory is registered under the name."""
    FAILED = "failed"
    """The node is failed; it is answered again once it is active."""
    FENCED = "fenced"
    """Its NodeFailed is under way."""
    STALLED = "stalled"
    """It pings, but takes no pongs or does not end its runs: it is left to fail."""


class Ping(NamedTuple):
    """What a node tells with a ping."""

    name: str
    incarnation: int
    directory: str
    seq: int
    applied: int
    """The Raft index that the node has applied."""
    newest_pong: int
    unwell: Sequence[str] = ()
    """Why it is not well, in plain words; empty if it is."""
    recovering: Sequence[str] = ()
    """Ids of the runs whose recovery has failed so far and is being tried again."""


class WaitingPing(NamedTuple):
    """A ping that a round is to confirm."""

    name: str
    incarnation: int
    seq: int


@dataclass(slots=True)
class _Watch:
    """What the leader remembers of one incarnation of a node."""

    incarnation: int
    directory: str
    answerable: float
    """When its last ping arrived that could be answered; at first, when the leader learnt of the incarnation."""
    pong_at: float
    """When a ping last showed a newer pong than the one before; at first, when the first ping came."""
    newest_pong: int = 0
    waiting: int = 0
    """The newest ping that no round has taken yet; 0 if there is none. The newest is enough: it ends latest."""
    failing: bool = False
    stalled: bool = False
    returned: bool = False
    """It is failed and a ping has shown that it knows."""
    heard: bool = False
    unwell: tuple[str, ...] = ()
    recovering: frozenset[str] = frozenset()
    health_at: float = float("-inf")
    """When its health was last told to the cluster."""


class LeaderLeases:
    """Which pings a leader may answer, and which nodes have failed. Made anew for every term that a peer leads."""

    def __init__(self, term: int, elected_at: float) -> None:
        """`elected_at`: when this peer learnt that it leads in `term`; later than the election is safe, earlier not."""
        self.term = term
        self._elected_at = elected_at
        self._watches: dict[str, _Watch] = {}
        self._live: dict[RunId, tuple[Run, float]] = {}  # live runs, and since when they stand as they do
        self._seen: ClusterState | None = None

    def observe(self, now: float, state: ClusterState) -> None:
        """Takes a newly applied state. Cheap if it is the one of last time."""
        if state is self._seen:
            return
        self._seen = state
        self._watches = {name: self._watch(now, node) for name, node in state.nodes.items()}
        for name, node in state.nodes.items():
            if node.status is not NodeStatus.FAILED:
                self._watches[name].returned = False
        self._live = {key: (run, self._since(now, run)) for key, run in state.runs.items() if run.live}

    def on_ping(self, now: float, ping: Ping, node: Node | None) -> PingVerdict:
        """A ping has arrived from the peer of its name; `node` is that name's record in the newest applied state."""
        if node is None:
            return PingVerdict.UNKNOWN
        if (node.incarnation, node.directory) != (ping.incarnation, ping.directory):
            return PingVerdict.FOREIGN
        watch = self._watches[node.name] = self._watch(now, node)
        self._note_progress(now, watch, ping, node)
        watch.heard = True
        watch.unwell = _reasons(ping.unwell)
        watch.recovering = frozenset(ping.recovering)
        if not watch.stalled:
            watch.answerable = now
        if node.status is NodeStatus.FAILED:
            if ping.applied >= node.failed_index:
                watch.failing = watch.stalled = False
                watch.returned = True
                watch.answerable = now
            return PingVerdict.FAILED
        if watch.failing:
            return PingVerdict.FENCED
        if watch.stalled:
            return PingVerdict.STALLED
        watch.waiting = max(watch.waiting, ping.seq)
        return PingVerdict.WAITING

    @property
    def has_waiting(self) -> bool:
        """Whether a ping waits for a round."""
        return any(watch.waiting for watch in self._watches.values())

    def take_waiting(self) -> list[WaitingPing]:
        """The pings that the round which begins now is to confirm."""
        taken = []
        for name, watch in sorted(self._watches.items()):
            if watch.waiting:
                taken.append(WaitingPing(name, watch.incarnation, watch.waiting))
                watch.waiting = 0
        return taken

    def answered(self, pings: Iterable[WaitingPing], state: ClusterState) -> list[WaitingPing]:
        """Those pings of a confirmed round that are answered: nothing came between their arrival and now."""
        return [ping for ping in pings if self._may_answer(ping, state.nodes.get(ping.name))]

    def due(self, now: float, state: ClusterState) -> list[Command]:
        """The changes of the nodes' status that are to be proposed now, by name.

        It fences the nodes that it names as failed, so the caller may propose late, again or not at all, but does not
        answer a ping in between. A change is named again until it is applied.
        """
        self.observe(now, state)
        self._find_overdue(now)
        commands: list[Command] = []
        for name, node in sorted(state.nodes.items()):
            command = self._due_of(now, self._watches[name], node)
            if command is not None:
                commands.append(command)
        return commands

    def silences(self, now: float) -> dict[str, float]:
        """Seconds since the last ping of every node that could be answered, by name; for people and metrics."""
        return {name: now - self._last_answerable(watch) for name, watch in sorted(self._watches.items())}

    # ---- steps --------------------------------------------------------------------------------------------------

    def _watch(self, now: float, node: Node) -> _Watch:
        known = self._watches.get(node.name)
        if known is not None and (known.incarnation, known.directory) == (node.incarnation, node.directory):
            return known
        return _Watch(node.incarnation, node.directory, answerable=now, pong_at=now)

    def _since(self, now: float, run: Run) -> float:
        """When this leader first saw a run live, or told to recover: from then on its node has only to end it."""
        before, since = self._live.get(run.id, (run, now))
        told = run.status is RunStatus.RECOVERING and before.status is not RunStatus.RECOVERING
        return now if told else since

    def _last_answerable(self, watch: _Watch) -> float:
        return max(self._elected_at, watch.answerable)

    @staticmethod
    def _note_progress(now: float, watch: _Watch, ping: Ping, node: Node) -> None:
        if not watch.heard or ping.newest_pong > watch.newest_pong or node.status is NodeStatus.FAILED:
            watch.newest_pong = max(watch.newest_pong, ping.newest_pong)
            watch.pong_at = now
        elif now - watch.pong_at > limits.PONG_STALL:
            watch.stalled = True

    def _find_overdue(self, now: float) -> None:
        """A node that pings but does not end its runs hangs: its lease must end for the cluster to go on.

        A node that says that it is still recovering does not hang: it is given the time to say that it cannot. If it
        were failed before, its run would count as interrupted while its fault is on.
        """
        for run, since in self._live.values():
            watch = self._watches.get(run.node)
            if watch is None:
                continue
            patience = limits.RUN_OVERDUE
            if str(run.id) in watch.recovering:
                patience += limits.RECOVERY_GIVE_UP
            lasts = 0.0 if run.status is RunStatus.RECOVERING else run.duration_seconds
            if now - since > lasts + patience:
                watch.stalled = True

    def _may_answer(self, ping: WaitingPing, node: Node | None) -> bool:
        watch = self._watches.get(ping.name)
        if node is None or watch is None or node.status is NodeStatus.FAILED:
            return False
        same = watch.incarnation == ping.incarnation == node.incarnation
        return same and not (watch.failing or watch.stalled)

    def _due_of(self, now: float, watch: _Watch, node: Node) -> Command | None:
        if node.status is NodeStatus.FAILED:
            return NodeActive(self.term, node.name, node.incarnation) if watch.returned else None
        if watch.failing or now - self._last_answerable(watch) > limits.FAILURE_AFTER:
            watch.failing = True
            watch.waiting = 0
            return NodeFailed(self.term, node.name, node.incarnation)
        known = node.reasons if node.status is NodeStatus.DEGRADED else ()
        settled = now - watch.health_at >= limits.HEALTH_SETTLE
        if watch.heard and not watch.stalled and watch.unwell != known and settled:
            watch.health_at = now
            return NodeDegraded(self.term, node.name, node.incarnation, list(watch.unwell))
        return None


def _reasons(unwell: Sequence[str]) -> tuple[str, ...]:
    """The reasons as the state keeps them, so that the two can be compared."""
    return tuple(sorted({clip(reason, limits.UNWELL_REASON) for reason in unwell}))[: limits.UNWELL_REASONS]

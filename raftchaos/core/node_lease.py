"""The lease of a node, as the node itself sees it: only contact with a quorum renews it.

The node sends pings and remembers when it sent each. A pong proves that the leader had its majority after that ping
arrived, so nobody may take over the node's work before that ping is `limits.FAILURE_AFTER` old; the node may therefore
act until the ping is `limits.LEASE` old, and has `limits.REVERT` to take back what it did. All instants are boot
seconds of this machine; no instant of another machine is ever compared with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from raftchaos import limits


@dataclass(frozen=True, slots=True)
class LeaseChange:
    """What a call did to the lease. If both are set, an old lease was over before the new one began."""

    renewed: bool = False
    """The lease ends later than before, or a new one began."""
    lapsed: int | None = None
    """Epoch of a lease that was found to have ended: everything under it is over and is never taken up again."""


UNCHANGED = LeaseChange()


class _Pong(NamedTuple):
    sent: float
    commit_index: int


class NodeLease:
    """The lease of one incarnation of a node.

    An *epoch* is one unbroken lease: it begins with the first pong that takes effect while no lease runs, and is over
    at its end. What was granted or started in an epoch must not outlive it, so everybody who acts notes the epoch
    that he acts under. Epochs count from 1; 0 says that there never was a lease.
    """

    def __init__(self) -> None:
        self._sent: dict[int, float] = {}
        self._pending: list[_Pong] = []
        self._seq = 0
        self._newest_pong = 0
        self._applied = 0
        self._end = 0.0
        self._epoch = 0
        self._open = False  # the epoch has begun and nobody was told yet that it is over

    @property
    def end(self) -> float:
        """When the newest lease ends or ended, in boot seconds; 0.0 if there never was one."""
        return self._end

    @property
    def epoch(self) -> int:
        """The newest lease's number."""
        return self._epoch

    @property
    def newest_pong(self) -> int:
        """The highest ping that was answered; travels in the next ping, so that the leader sees answers arrive."""
        return self._newest_pong

    def running(self, now: float) -> bool:
        """Whether something may be started now. Right even if nobody has noticed yet that the lease has ended."""
        return self._open and now < self._end

    def ping(self, now: float) -> int:
        """A ping is sent now; returns its number. Only the last `limits.PINGS_REMEMBERED` can be answered."""
        self._seq += 1
        self._sent[self._seq] = now
        self._sent.pop(self._seq - limits.PINGS_REMEMBERED, None)
        return self._seq

    def on_pong(self, seq: int, commit_index: int, now: float) -> LeaseChange:
        """A leader answers the ping `seq`, having committed up to `commit_index`.

        Any ping of this incarnation counts, not only the newest: on a slow link the newest is always on its way. The
        leader's term does not matter either: a pong of a deposed leader was confirmed by a majority before the next
        leader was elected, and that one waits out the lease from its election on.
        """
        sent = self._sent.get(seq)
        if sent is None:
            return self.check(now)
        self._newest_pong = max(self._newest_pong, seq)
        self._pending.append(_Pong(sent, commit_index))
        del self._pending[: -limits.PONGS_PENDING]
        return self._take_effect(now)

    def on_applied(self, applied_index: int, now: float) -> LeaseChange:
        """The node has applied the log up to `applied_index`: pongs that waited for it take effect.

        A node that has not applied what the leader had committed may miss a halt, and must not go on.
        """
        self._applied = max(self._applied, applied_index)
        return self._take_effect(now)

    def check(self, now: float) -> LeaseChange:
        """To be called at the end of the lease even if nothing arrives: tells once that it has lapsed."""
        if self._open and now >= self._end:
            self._open = False
            return LeaseChange(lapsed=self._epoch)
        return UNCHANGED

    def _take_effect(self, now: float) -> LeaseChange:
        """Renews by the newest pong whose commit index is applied. A lease that has ended is never extended."""
        lapsed = self.check(now).lapsed
        due = [pong.sent for pong in self._pending if pong.commit_index <= self._applied]
        if not due:
            return LeaseChange(lapsed=lapsed)
        self._pending = [pong for pong in self._pending if pong.commit_index > self._applied]
        end = max(due) + limits.LEASE
        if end <= now or (self._open and end <= self._end):
            return LeaseChange(lapsed=lapsed)
        if not self._open:
            self._open = True
            self._epoch += 1
        self._end = end
        return LeaseChange(renewed=True, lapsed=lapsed)

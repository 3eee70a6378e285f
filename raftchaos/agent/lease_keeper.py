"""Keeps the lease of this node: pings the leader, takes its pongs, tells everybody who acts under the lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from raftchaos import limits
from raftchaos.agent.mailbox import Mailbox
from raftchaos.clock import Clock
from raftchaos.core.interfaces import ReplicatedLog
from raftchaos.core.node_lease import LeaseChange, NodeLease
from raftchaos.core.state import ClusterState

PONG_FIELDS = {"seq": int, "term": int, "commit": int, "incarnation": int}


class LeaseListener(Protocol):
    """Who acts under the lease. Called on the loop; must not block. What it raises ends the peer."""

    def on_renewed(self, end: float, epoch: int) -> None:
        """The lease `epoch` now ends at `end` (boot seconds), later than before. A new epoch is a new lease."""

    def on_lapsed(self, epoch: int) -> None:
        """The lease `epoch` has ended: what was started or granted under it is over. Called once for each epoch."""


class LeaseKeeper:
    """The node's side of the lease protocol. One object for one start of the peer.

    It pings as soon as this node's own state shows its registration: at once, then every `limits.PING_INTERVAL`, and
    at once after a change of the leader. A leader pings itself in the same way.
    """

    def __init__(
        self,
        *,
        log: ReplicatedLog,
        mailbox: Mailbox,
        clock: Clock,
        state: Callable[[], ClusterState],
        name: str,
        incarnation: int,
        directory: str,
        health: Callable[[], Sequence[str]],
        recovering: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """`state` gives the newest applied state. `health` says in plain words why this node is not well, if so;
        `recovering` names the runs whose recovery has failed so far and is being tried again.
        """
        self.lease = NodeLease()
        self._log = log
        self._clock = clock
        self._state = state
        self._name = name
        self._incarnation = incarnation
        self._directory = directory
        self._health = health
        self._recovering = recovering
        self._listeners: list[LeaseListener] = []
        self._wake = asyncio.Event()
        self._pinged: str | None = None  # the leader that the last ping was meant for
        self._pinged_at = float("-inf")
        self._unsent = False  # the last ping could not be sent
        self._changed = False  # since then a connection or the leader has changed
        mailbox.register("pong", PONG_FIELDS, self._on_pong)
        log.on_applied(self._on_applied)
        log.on_change(self._on_change)

    def add_listener(self, listener: LeaseListener) -> None:
        """From now on `listener` is told of every renewal and every end, after those that were added before it."""
        self._listeners.append(listener)

    def running(self) -> bool:
        """Whether something may be started now: compares with the clock, so it is right after a freeze too."""
        return self.lease.running(self._clock.boot())

    @property
    def registered(self) -> bool:
        """Whether the applied state holds this very start of this peer."""
        node = self._state().nodes.get(self._name)
        return node is not None and (node.incarnation, node.directory) == (self._incarnation, self._directory)

    async def run(self) -> None:
        """Pings, and notices the end of the lease, until it is cancelled."""
        while True:
            self._tell(self.lease.check(self._clock.boot()))
            self._ping_if_due()
            try:
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    # ---- pings --------------------------------------------------------------------------------------------------

    def _ping_if_due(self) -> None:
        leader = self._log.status().leader
        if leader is None or not self.registered:
            return
        now = self._clock.boot()
        retry = leader != self._pinged or (self._unsent and self._changed)
        if not retry and now - self._pinged_at < limits.PING_INTERVAL:
            return
        self._pinged, self._pinged_at, self._changed = leader, now, False
        ping = {
            "type": "ping",
            "seq": self.lease.ping(now),
            "incarnation": self._incarnation,
            "directory": self._directory,
            "applied": self._log.status().applied_index,
            "newest_pong": self.lease.newest_pong,
            "unwell": [reason[: limits.UNWELL_REASON] for reason in self._health()][: limits.UNWELL_REASONS],
            "recovering": list(self._recovering())[: limits.RUNS_RECOVERING],
        }
        self._unsent = not self._log.send(leader, ping)

    def _pause(self) -> float:
        """Seconds until the next thing to do. The loop's timer does not count a suspend: `run` looks at the clock."""
        now = self._clock.boot()
        pause = self._pinged_at + limits.PING_INTERVAL - now
        if pause <= 0:  # a ping is due and cannot be sent: what it waits for wakes the loop
            pause = limits.PING_INTERVAL
        if self.lease.running(now):
            pause = min(pause, self.lease.end - now)
        return pause

    # ---- what arrives -------------------------------------------------------------------------------------------

    def _on_pong(self, sender: str, message: dict[str, Any]) -> None:
        if message["incarnation"] != self._incarnation:
            return  # the answer to a ping of an earlier start
        self._tell(self.lease.on_pong(message["seq"], message["commit"], self._clock.boot()))

    def _on_applied(self) -> None:
        self._tell(self.lease.on_applied(self._log.status().applied_index, self._clock.boot()))
        if self._pinged is None and self.registered:
            self._wake.set()  # this batch has registered the node

    def _on_change(self) -> None:
        self._changed = True
        self._wake.set()

    def _tell(self, change: LeaseChange) -> None:
        if change.lapsed is not None:
            for listener in self._listeners:
                listener.on_lapsed(change.lapsed)
        if change.renewed:
            for listener in self._listeners:
                listener.on_renewed(self.lease.end, self.lease.epoch)
            self._wake.set()  # the end that `run` waits for has moved

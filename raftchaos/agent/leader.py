"""What a peer does for the whole cluster while its replica leads: answers pings, fails nodes, plans."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from raftchaos import limits
from raftchaos.agent.mailbox import Mailbox
from raftchaos.clock import Clock
from raftchaos.core.commands import Command, LeaderStarted, encode
from raftchaos.core.interfaces import ReplicaStatus, ReplicatedLog
from raftchaos.core.leader_leases import LeaderLeases, Ping, WaitingPing
from raftchaos.core.meter import Meter, NullMeter
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.state import ClusterState
from raftchaos.errors import NoQuorum

PING_FIELDS = {
    "seq": int,
    "incarnation": int,
    "directory": str,
    "applied": int,
    "newest_pong": int,
    "unwell": list,
    "recovering": list,
}

Planner = Callable[[ClusterState, int], list[Command]]
"""`core.planner.plan`: the commands that are due in a state, at a wall-clock time in milliseconds."""


class _Reign:
    """Everything of one term that this peer leads. Dropped as a whole when it does not lead that term any more."""

    def __init__(self, term: int, now: float) -> None:
        self.term = term
        self.leases = LeaderLeases(term, now)
        self.announced = False  # LeaderStarted is in the log
        self.proposed: dict[bytes, float] = {}  # what this leader has proposed a moment ago, and when
        self.batch_index = 0  # the last entry of the planner's newest batch
        self.batch_at = float("-inf")

    def planner_waits(self, now: float, applied_index: int) -> bool:
        """Whether the planner's newest batch is still under way: what it would say now, it would say twice."""
        return applied_index < self.batch_index and now - self.batch_at < limits.PROPOSAL_PATIENCE

    def forget_old(self, now: float) -> None:
        """Commands that were proposed long enough ago may be proposed again."""
        self.proposed = {data: at for data, at in self.proposed.items() if now - at < limits.PROPOSAL_PATIENCE}


class Leader:
    """The leader's side of the lease protocol, and the planner's hands. Runs on every peer, acts on the leader.

    It acts (answers pings, fails nodes, plans) only after its own `LeaderStarted` is applied here: by then everything
    that earlier leaders committed is applied too, and `apply` refuses what they still propose. A deposed leader
    forgets everything of its term; nothing of it is forwarded or repeated.
    """

    def __init__(
        self,
        *,
        log: ReplicatedLog,
        mailbox: Mailbox,
        clock: Clock,
        state: Callable[[], ClusterState],
        request_ids: RequestIds,
        plan: Planner,
        meter: Meter | None = None,
    ) -> None:
        """`state` gives the newest applied state."""
        self._log = log
        self._mailbox = mailbox
        self._clock = clock
        self._state = state
        self._request_ids = request_ids
        self._plan = plan
        self._meter: Meter = meter or NullMeter()
        self._reign: _Reign | None = None
        self._wake = asyncio.Event()
        self._round_wanted = asyncio.Event()
        mailbox.register("ping", PING_FIELDS, self._on_ping)
        log.on_applied(self._wake.set)
        log.on_change(self._wake.set)

    @property
    def acting(self) -> bool:
        """Whether this peer leads and everything before its term is applied here."""
        reign = self._current_reign(self._log.status())
        return reign is not None and self._may_act(reign)

    def silences(self) -> dict[str, float]:
        """Seconds since every node was last heard, by name; empty if this peer does not lead."""
        reign = self._current_reign(self._log.status())
        return {} if reign is None else reign.leases.silences(self._clock.boot())

    async def run(self) -> None:
        """Leads whenever the replica does, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._act())
            group.create_task(self._answer())

    # ---- who leads ----------------------------------------------------------------------------------------------

    def _current_reign(self, status: ReplicaStatus) -> _Reign | None:
        """The reign of the replica's present term; a new one if it has just begun."""
        if status.role != "leader":
            self._reign = None
        elif self._reign is None or self._reign.term != status.term:
            self._reign = _Reign(status.term, self._clock.boot())
        return self._reign

    def _may_act(self, reign: _Reign) -> bool:
        return reign.announced and self._state().term == reign.term

    def _propose(self, command: bytes, term: int) -> bool:
        return self._log.propose_as_leader(self._request_ids.next(), command, term)

    # ---- pings --------------------------------------------------------------------------------------------------

    def _on_ping(self, sender: str, message: dict[str, Any]) -> None:
        reign = self._current_reign(self._log.status())
        if reign is None:
            return
        ping = Ping(
            name=sender,
            incarnation=message["incarnation"],
            directory=message["directory"],
            seq=message["seq"],
            applied=message["applied"],
            newest_pong=message["newest_pong"],
            unwell=message["unwell"],
            recovering=message["recovering"],
        )
        reign.leases.on_ping(self._clock.boot(), ping, self._state().nodes.get(sender))
        if reign.leases.has_waiting:
            self._round_wanted.set()

    async def _answer(self) -> None:
        """One round after the other: each serves all pings that arrived before it began."""
        while True:
            await self._round_wanted.wait()
            self._round_wanted.clear()
            reign = self._current_reign(self._log.status())
            if reign is None or not self._may_act(reign):
                continue  # `_tick` asks for the round once this peer acts
            pings = reign.leases.take_waiting()
            if not pings:
                continue
            try:
                commit_index = await self._log.confirm_leadership(timeout=limits.ROUND_TIMEOUT)
            except NoQuorum:
                continue  # the nodes go on pinging; without a majority no lease may be renewed
            self._send_pongs(reign, pings, commit_index)

    def _send_pongs(self, reign: _Reign, pings: list[WaitingPing], commit_index: int) -> None:
        if self._current_reign(self._log.status()) is not reign:
            return
        for ping in reign.leases.answered(pings, self._state()):
            pong = {
                "type": "pong",
                "seq": ping.seq,
                "term": reign.term,
                "commit": commit_index,
                "incarnation": ping.incarnation,
            }
            self._meter.heartbeat(ping.name)
            self._log.send(ping.name, pong)  # a pong that is lost is made good by the next one

    # ---- commands -----------------------------------------------------------------------------------------------

    async def _act(self) -> None:
        while True:
            self._tick()
            try:
                async with asyncio.timeout(None if self._reign is None else limits.LEADER_TICK):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    def _tick(self) -> None:
        status = self._log.status()
        reign = self._current_reign(status)
        if reign is None:
            return
        now = self._clock.boot()
        reign.leases.observe(now, self._state())
        if not reign.announced:
            announcement = encode(LeaderStarted(reign.term, status.name))
            reign.announced = status.leader_ready and self._propose(announcement, reign.term)
        elif self._may_act(reign):
            reign.forget_old(now)
            self._propose_due(reign, now, reign.leases.due(now, self._state()))
            self._plan_next(reign, now, status)
            if reign.leases.has_waiting:
                self._round_wanted.set()

    def _plan_next(self, reign: _Reign, now: float, status: ReplicaStatus) -> None:
        if reign.planner_waits(now, status.applied_index):
            return
        if self._propose_due(reign, now, self._plan(self._state(), int(self._clock.wall() * 1000))):
            reign.batch_index, reign.batch_at = self._log.status().last_index, now

    def _propose_due(self, reign: _Reign, now: float, commands: list[Command]) -> bool:
        """Proposes what is due; returns whether anything was. What was proposed a moment ago is left out: it is under
        way, or was refused, and asking for the same again at once would only fill the log.
        """
        proposed = False
        for data in map(encode, commands):
            if data in reign.proposed:
                continue
            if self._propose(data, reign.term):  # else it, as whatever was not proposed, is due again at the next look
                reign.proposed[data] = now
                proposed = True
        return proposed

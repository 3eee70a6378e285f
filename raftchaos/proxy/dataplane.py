"""All proxies of a process: their listeners, their connections, and the faults on them."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import cast

from raftchaos import limits
from raftchaos.clock import Clock
from raftchaos.core.interfaces import NODE_LEASE
from raftchaos.errors import UsageError
from raftchaos.identity.termination import Termination
from raftchaos.proxy.cells import Folding
from raftchaos.proxy.commands import Command
from raftchaos.proxy.delayline import Budget
from raftchaos.proxy.engine import Engine
from raftchaos.proxy.entrance import Entrance
from raftchaos.proxy.faults import FAULTS
from raftchaos.proxy.listeners import listen_address
from raftchaos.proxy.relay import Relay, reset_on_close
from raftchaos.proxy.specs import FaultSpec, ProxySpec, split_address
from raftchaos.proxy.splice import Splices
from raftchaos.proxy.stats import Stats
from raftchaos.proxy.table import Effects, FaultTable
from raftchaos.proxy.timers import Timers
from raftchaos.proxy.toxic import Fault


class Proxy:
    """One proxy: an entrance, an upstream, and what flows between."""

    def __init__(self, spec: ProxySpec, sock: socket.socket, plane: DataPlane) -> None:
        self.spec = spec
        self.sock = sock
        self.stats = Stats(plane.folding)
        self.upstream = split_address(spec.upstream)
        self.faults: list[Fault] = []
        self.now = plane.clock.boot
        self.timers = plane.timers
        self.splices = plane.splices
        self._plane = plane
        self._relays: dict[Relay, None] = {}  # oldest first
        tls = Termination(spec.certificate, spec.key) if spec.certificate else None
        self._entrance = Entrance(sock, self._accept, tls)

    async def start(self) -> None:
        """Accept connections."""
        await self._entrance.start()

    async def stop(self) -> None:
        """Accept nothing more and close all connections."""
        await self._entrance.stop()
        for relay in list(self._relays):
            relay.abort()
        self.sock.close()

    def _accept(self) -> asyncio.Protocol:
        if self.stats.active >= limits.PROXY_CONNECTIONS:
            self.stats.refused += 1
            return _Refused()
        return Relay(self, Engine(self.stats, self._plane.budget)).client

    def set_faults(self, faults: list[Fault]) -> None:
        """Do these faults from now on, to open connections too."""
        before, self.faults = self.faults, faults
        now = self.now()
        for fault in faults:
            if fault not in before:
                fault.began()
        self._entrance.set_open(not any(fault.refuses for fault in faults))
        for relay in list(self._relays):
            relay.set_faults(faults, now)

    # ---- as the owner of relays

    def check_lease(self, now: float) -> None:
        if self.faults:
            self._plane.table.expire(now)

    def opened(self, relay: Relay) -> list[Command]:
        now = self.now()
        self.check_lease(now)
        self._relays[relay] = None
        self.stats.connections += 1
        self.stats.active += 1
        return relay.engine.open(self.faults, now, relay.client_address)

    def closed(self, relay: Relay) -> None:
        if relay in self._relays:
            del self._relays[relay]
            self.stats.active -= 1


class _Refused(asyncio.Protocol):
    """A connection above the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        accepted = cast(asyncio.Transport, transport)
        reset_on_close(accepted)
        accepted.abort()


class DataPlane:
    """The proxies by name, the table of faults, and the timer of the lease."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.budget = Budget()
        self.timers = Timers(clock.boot)
        self.splices = Splices()
        self.proxies: dict[str, Proxy] = {}
        self.table = FaultTable(FAULTS, self._faults_changed)
        self.folding = Folding()
        self.cells: deque[bytes] = deque(maxlen=limits.CELLS_WAITING)
        """Of the last seconds, oldest first, until somebody takes them."""
        self.cells_dropped = 0
        self._second = int(clock.wall())
        self._cell_timer = asyncio.get_running_loop().call_later(1.0, self._close_cell)
        self._lease_timer: asyncio.TimerHandle | None = None
        self._pulse_timers: dict[str, asyncio.TimerHandle] = {}

    async def add_proxy(self, spec: ProxySpec, sock: socket.socket) -> str:
        """Serve a proxy on a listening socket, which is ours from now on; the address at which it listens.

        The same proxy again changes nothing. Raises UsageError.
        """
        present = self.proxies.get(spec.name)
        if present is not None:
            sock.close()
            if present.spec != spec:
                raise UsageError(f"proxy {spec.name} exists with other values")
            return listen_address(present.sock)
        if len(self.proxies) >= limits.PROXIES:
            sock.close()
            raise UsageError(f"there are {limits.PROXIES} proxies, more are not taken")
        proxy = Proxy(spec, sock, self)
        await proxy.start()
        self.proxies[spec.name] = proxy
        return listen_address(sock)

    async def remove_proxy(self, name: str) -> None:
        """End a proxy, its connections, and the faults on it. Idempotent."""
        proxy = self.proxies.pop(name, None)
        if proxy is not None:
            self.table.proxy_removed(name)
            await proxy.stop()

    def take_lease(self, end: float, lease: str = NODE_LEASE) -> None:
        """A later end of a lease; see `FaultTable.take_lease`."""
        self.table.take_lease(end, self.clock.boot(), lease)
        self._watch_lease()

    def inject(self, spec: FaultSpec) -> None:
        """Begin a fault. Raises FaultRefused."""
        self.folding.fault(spec.run, spec.fault)
        try:
            self.table.inject(spec, self.proxies, self.clock.boot())
        finally:
            self._watch_lease()

    def set_faults(self, wanted: Sequence[FaultSpec]) -> Mapping[str, str]:
        """Make these the only faults; the runs that were refused, with the reason."""
        for spec in wanted:
            self.folding.fault(spec.run, spec.fault)
        try:
            return self.table.replace(wanted, self.proxies, self.clock.boot())
        finally:
            self._watch_lease()

    def recover(self, run: str, *, replaced: bool = False) -> Effects:
        """End a run; what it did."""
        return self.table.recover(run, replaced=replaced)

    def take_cells(self) -> tuple[list[bytes], int]:
        """The oldest cells that nobody has taken, as many as an answer holds, and how many were dropped since."""
        taken: list[bytes] = []
        size = 0
        while self.cells and size < limits.CELLS_SENT:
            taken.append(self.cells.popleft())
            size += len(taken[-1])
        dropped, self.cells_dropped = self.cells_dropped, 0
        return taken, dropped

    def _close_cell(self) -> None:
        """A second of the wall clock is over."""
        second, self._second = self._second, int(self.clock.wall())
        if second != self._second:
            self.cells_dropped += len(self.cells) == self.cells.maxlen
            self.cells.append(self.folding.close(second, self.table.effects()).encode())
        left = 1.0 - self.clock.wall() % 1.0
        self._cell_timer = asyncio.get_running_loop().call_later(left, self._close_cell)

    async def stop(self) -> None:
        """End everything."""
        self._cell_timer.cancel()
        if self._lease_timer is not None:
            self._lease_timer.cancel()
        for timer in self._pulse_timers.values():
            timer.cancel()
        for name in list(self.proxies):
            await self.remove_proxy(name)
        self.timers.close()
        self.splices.close()

    def _faults_changed(self, name: str) -> None:
        proxy = self.proxies.get(name)
        if proxy is not None:
            now = self.clock.boot()  # once: between two looks at the clock a switch would be passed over
            proxy.set_faults(self.table.faults(name, now))
            self._watch_pulses(name, now)

    def _watch_pulses(self, name: str, now: float) -> None:
        """Let a timer switch the pulses of a proxy, whose faults are those of `now`."""
        timer = self._pulse_timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        due = self.table.switches(now).get(name)
        if due is not None:
            loop = asyncio.get_running_loop()
            left = max(0.0, due - self.clock.boot())
            self._pulse_timers[name] = loop.call_later(left, self._faults_changed, name)

    def _watch_lease(self) -> None:
        """Let a timer end the lease. It does not count the time that the machine was suspended, so it looks again."""
        if self._lease_timer is not None:
            self._lease_timer.cancel()
            self._lease_timer = None
        now = self.clock.boot()
        self.table.expire(now)
        if self.table.runs():
            left = self.table.next_end - now
            self._lease_timer = asyncio.get_running_loop().call_later(left, self._watch_lease)

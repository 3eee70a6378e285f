"""The proxy process as a twin in memory: the same promises, no process, no socket. For simulations and tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raftchaos.clock import Clock
from raftchaos.core.interfaces import MAIN_LEASE, NODE_LEASE, HasFileno
from raftchaos.errors import NotFound, Refused


class InMemoryProxy:
    """`core.interfaces.ProxyControl`. `faults` is what is on now; `touch` plays traffic."""

    def __init__(self, clock: Clock, socket_path: str = "/nonexistent/proxy.sock") -> None:
        self._clock = clock
        self._socket_path = socket_path
        self._lease_ends = {NODE_LEASE: 0.0, MAIN_LEASE: 0.0}
        self._wanted: dict[str, tuple[str, str]] = {}
        self._under: dict[str, str] = {}  # the lease of each
        self._effects: dict[str, dict[str, int]] = {}
        self._proxies: dict[str, tuple[str, str, HasFileno]] = {}
        self.injections: list[str] = []
        """Every key that was ever put on, in order; a key that was on already does not stand here again."""

    @property
    def ready(self) -> bool:
        """It always is."""
        return True

    @property
    def socket_path(self) -> str:
        """Nobody listens there: to a reaper this process is gone."""
        return self._socket_path

    @property
    def faults(self) -> dict[str, tuple[str, str]]:
        """Type and proxy of every fault that is on, by key."""
        now = self._clock.boot()
        return {run: use for run, use in self._wanted.items() if now <= self._lease_ends[self._under[run]]}

    def touch(self, key: str, count: int = 1) -> None:
        """So many requests reach the fault."""
        if key in self.faults:
            self._effects[key]["touched"] += count

    def set_lease(self, end: float, lease: str = NODE_LEASE) -> None:
        """A later end; everything under it is gone first if the old one has passed."""
        self._wanted = self.faults
        self._lease_ends[lease] = max(self._lease_ends[lease], end)

    async def inject(
        self,
        run: str,
        fault: str,
        proxy: str,
        parameters: Mapping[str, Any],
        seed: int,
        lease_end: float,
        lease: str = NODE_LEASE,
    ) -> None:
        """Put a fault on a proxy."""
        self.set_lease(lease_end, lease)
        if self._clock.boot() > self._lease_ends[lease]:
            raise Refused("the lease has ended")
        if proxy not in self._proxies:
            raise NotFound(f"there is no proxy {proxy}")
        if run not in self._wanted:
            self.injections.append(run)
        self._wanted[run] = (fault, proxy)
        self._under[run] = lease
        self._effects.setdefault(run, {"touched": 0})

    async def recover(self, run: str, *, replaced: bool = False) -> dict[str, int]:
        """Take a fault off."""
        self._wanted.pop(run, None)
        return dict(self._effects.get(run, {}))

    def take_cells(self) -> list[bytes]:
        """It relays nothing."""
        return []

    async def effects(self) -> dict[str, dict[str, int]]:
        """What each has done."""
        return {run: dict(effect) for run, effect in self._effects.items()}

    async def active(self) -> dict[str, tuple[str, str]]:
        """What is on."""
        return self.faults

    async def forget(self, run: str) -> None:
        """Drop the counters."""
        if run not in self._wanted:
            self._effects.pop(run, None)

    async def add_proxy(
        self, name: str, listen: str, upstream: str, sock: HasFileno, certificate: str = "", key: str = ""
    ) -> None:
        """Take a proxy."""
        self._proxies[name] = (listen, upstream, sock)

    async def remove_proxy(self, name: str) -> None:
        """Drop a proxy and the faults on it."""
        self._proxies.pop(name, None)
        self._wanted = {run: use for run, use in self._wanted.items() if use[1] != name}

    async def take_sockets(self) -> dict[str, HasFileno]:
        """It never outlives its main."""
        return {}

    async def stats(self) -> dict[str, dict[str, int]]:
        """No traffic."""
        return {name: {} for name in self._proxies}

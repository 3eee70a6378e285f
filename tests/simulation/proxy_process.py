"""The proxy process of a simulated machine, and main's hand on it. The process outlives main, and may die or hang."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from raftchaos import limits
from raftchaos.core.interfaces import NODE_LEASE, HasFileno
from raftchaos.errors import ProxyUnavailable
from raftchaos.faults.twin import InMemoryProxy

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

PROXIES = ("api", "db")


class NoSocket:
    """The twin never looks at it."""

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        return


class ProxyProcess(InMemoryProxy):
    """The process: the product's twin of it, on a machine that can freeze and kill it."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, machine.proxy_socket)
        self.frozen = False
        self.dead = False
        self._proxies = {name: ("", "", NoSocket()) for name in PROXIES}
        self._machine = machine
        self._waiting: list[Callable[[], None]] = []
        self._watch_reaper()

    @property
    def runs(self) -> bool:
        """It answers."""
        return not self.dead and not self.frozen and not self._machine.off

    @property
    def lease_end(self) -> float:
        """The end of the lease that it knows."""
        return self._lease_ends[NODE_LEASE]

    def handle(self, request: Callable[[], None]) -> None:
        """Take a request that has arrived; a frozen process takes it when it is thawed."""
        if self.runs:
            request()
        elif not self.dead:
            self._waiting.append(request)

    def thaw(self) -> None:
        """SIGCONT."""
        self.frozen = False
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            request()

    def drop(self, key: str) -> dict[str, int]:
        """Take a fault off at once; what it has done."""
        self._wanted.pop(key, None)
        return dict(self._effects.get(key, {}))

    def put(self, key: str, fault: str, proxy: str, lease_end: float) -> bool:
        """Put a fault on at once, if the lease runs."""
        self.set_lease(lease_end)
        if self._clock.boot() > self.lease_end:
            return False
        self._wanted[key] = (fault, proxy)
        self._under[key] = NODE_LEASE
        self._effects.setdefault(key, {"touched": 0})["touched"] += 3
        return True

    def replace(self, wanted: Mapping[str, tuple[str, str]], lease_end: float) -> None:
        """A main that has just found this process says what is to be on."""
        for key in [key for key in self._wanted if key not in wanted]:
            self.drop(key)
        for key, (fault, proxy) in wanted.items():
            self.put(key, fault, proxy, lease_end)

    def _watch_reaper(self) -> None:
        """Whoever bears faults sees to it that somebody stands there to take them back."""
        if self.dead:
            return
        if self.runs and self.faults and self._machine.reaper is None:
            self._machine.start_reaper(self.lease_end)
        self._machine.world.at(limits.REAPER_LOOK, self._watch_reaper)


class ProxyLink:
    """Main's side: implements `core.interfaces.ProxyControl` for one life of main."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._wanted: dict[str, tuple[str, str]] = {}
        self._effects: dict[str, dict[str, int]] = {}
        self._lease_end = 0.0
        self._present: ProxyProcess | None = None

    @property
    def ready(self) -> bool:
        """The process that was given everything is still there."""
        return self._present is not None and self._present is self._machine.proxy

    @property
    def socket_path(self) -> str:
        """By which the reaper finds the process."""
        return self._machine.proxy_socket

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Keep a process there, and give a new one everything that is wanted while the lease runs."""
        while True:
            if not self.ready:
                await self._machine.wait(0.02, 0.3)
                process = self._machine.proxy or self._machine.start_proxy()
                self._forget_if_over()
                process.handle(lambda process=process: process.replace(self._wanted, self._lease_end))  # type: ignore[misc]
                self._present = process
                on_ready()
            await asyncio.sleep(0.05)

    def _forget_if_over(self) -> None:
        if self._machine.boot() > self._lease_end:
            self._wanted.clear()

    def on_renewed(self, end: float, epoch: int) -> None:
        """The lease keeper's listener."""
        self.set_lease(end)

    def on_lapsed(self, epoch: int) -> None:
        """The process knows by itself."""

    def set_lease(self, end: float) -> None:
        """Tell the process, which hears of it a moment later."""
        self._forget_if_over()
        self._lease_end = max(self._lease_end, end)
        process = self._machine.proxy
        if process is not None:
            self._machine.send(lambda: process.handle(lambda: process.set_lease(end)))

    async def _ask(self, what: Callable[[ProxyProcess], Any]) -> Any:
        """One request and its answer. The request may have been carried out even if the answer never comes."""
        process = self._machine.proxy
        if process is None or process.dead:
            raise ProxyUnavailable("the proxy process is gone")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def answered(result: Any) -> None:
            if not answer.done():
                answer.set_result(result)

        def carry_out() -> None:
            result = what(process)
            self._machine.send(lambda: loop.call_soon(answered, result))

        self._machine.send(lambda: process.handle(carry_out))
        deadline = loop.time() + limits.CONTROL_CALL
        while not answer.done():
            if process.dead or loop.time() > deadline:
                raise ProxyUnavailable("the proxy process does not answer")
            await asyncio.wait([answer], timeout=0.1)
        return answer.result()

    async def inject(
        self, run: str, fault: str, proxy: str, parameters: Mapping[str, Any], seed: int, lease_end: float
    ) -> None:
        """Put a fault on a proxy. It is wanted until a recovery, whatever becomes of this call."""
        self._wanted[run] = (fault, proxy)
        self._lease_end = max(self._lease_end, lease_end)
        effect = self._machine.prepared(run, f"proxy:{proxy}", "proxy")

        def put(process: ProxyProcess) -> bool:
            on = process.put(run, fault, proxy, lease_end)
            if on:
                self._machine.began(effect)
            return on

        if not await self._ask(put):
            raise ProxyUnavailable("the lease had ended when the proxy process got the request")

    async def recover(self, run: str) -> dict[str, int]:
        """Take a fault off. A process that is gone bears none."""
        self._wanted.pop(run, None)
        self._machine.recovering.add(run)
        process = self._machine.proxy
        if process is not None and not process.dead:
            try:
                self._effects[run] = await self._ask(lambda process: process.drop(run))
            except ProxyUnavailable:
                if not process.dead:
                    raise
        self._machine.ended(run, "main")
        return dict(self._effects.get(run, {"touched": 1}))

    async def effects(self) -> dict[str, dict[str, int]]:
        """What each has done."""
        return {run: dict(effect) for run, effect in self._effects.items()}

    async def active(self) -> dict[str, tuple[str, str]]:
        """What is on, as the process says."""
        return dict(await self._ask(lambda process: process.faults))

    async def forget(self, run: str) -> None:
        """Drop the counters."""
        self._effects.pop(run, None)

    async def add_proxy(
        self, name: str, listen: str, upstream: str, sock: HasFileno, certificate: str = "", key: str = ""
    ) -> None:
        """The proxies of a simulated machine are fixed."""

    async def remove_proxy(self, name: str) -> None:
        """The proxies of a simulated machine are fixed."""

    async def take_sockets(self) -> dict[str, HasFileno]:
        """There are none."""
        return {}

    async def stats(self) -> dict[str, dict[str, int]]:
        """No traffic is counted."""
        return {name: {} for name in PROXIES}

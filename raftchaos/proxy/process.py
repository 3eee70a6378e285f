"""Main's side of the proxy process: starts or adopts it, keeps the wanted table, starts it again when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raftchaos import limits
from raftchaos._version import VERSION
from raftchaos.clock import Clock
from raftchaos.core.interfaces import NODE_LEASE, HasFileno
from raftchaos.errors import ProxyUnavailable, RaftchaosError
from raftchaos.proxy.child import Child
from raftchaos.proxy.client import ProxyClient
from raftchaos.proxy.specs import LEASES, FaultSpec, ProxySpec
from raftchaos.proxy.table import Effects, merged

log = logging.getLogger("raftchaos.proxy")


@dataclass(frozen=True, slots=True)
class _Proxy:
    spec: ProxySpec
    sock: HasFileno


class ProxyProcess:
    """`core.interfaces.ProxyControl` over a real process.

    It is pinged; if it ends or does not answer it is killed and another is started, with the same listening sockets,
    the present lease and the faults that are wanted. Effects that were counted by a process that is gone are kept up
    to its last ping. `on_ready(bool)` is called when `ready` changes.
    """

    def __init__(
        self,
        socket_path: Path,
        clock: Clock,
        *,
        log_path: Path | None = None,
        arguments: Sequence[str] = (),
        on_ready: Callable[[bool], None] = lambda ready: None,
    ) -> None:
        self._path = socket_path
        self._clock = clock
        self._log_path = log_path
        self._arguments = tuple(arguments)
        self._on_ready = on_ready
        self._child: Child | None = None
        self._client: ProxyClient | None = None
        self._proxies: dict[str, _Proxy] = {}
        self._wanted: dict[str, FaultSpec] = {}
        self._seen: dict[str, Effects] = {}  # of the present process, at its last ping
        self._before: dict[str, Effects] = {}  # of processes that are gone
        self._inherited: dict[str, HasFileno] = {}  # sockets of a process of another release
        self._lease_ends = dict.fromkeys(LEASES, 0.0)
        self._lease_news = asyncio.Event()
        self._bringing_up = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._cells: deque[bytes] = deque(maxlen=limits.CELLS_WAITING)
        self.cells_dropped = 0
        """Cells that were dropped because nobody took them."""
        self.restarts = 0
        """How often a process that was gone was replaced."""

    # ---- its life

    async def start(self) -> None:
        """Adopt the process that answers at the socket, or start one; then watch it. Raises MachineUnusable or
        ProxyUnavailable if that cannot be done.
        """
        if not await self._adopt():
            await self._bring_up()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self, *, shutdown: bool = True) -> None:
        """Watch no more. With `shutdown` the process ends, its connections too; else it goes on and may be adopted."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        client, child = self._client, self._child
        try:
            if shutdown and client is not None:
                with contextlib.suppress(RaftchaosError):
                    await client.shutdown()
        finally:
            self._set_client(None)
            if child is not None and shutdown:
                await child.end(limits.CONTROL_CALL)
        if child is not None and not shutdown:
            child.detach()
        self._child = None

    @property
    def ready(self) -> bool:
        """The process runs, answers, and has the whole wanted table."""
        return self._client is not None

    @property
    def socket_path(self) -> str:
        """Path of the control socket."""
        return str(self._path)

    @property
    def pid(self) -> int | None:
        """Process id of the present process."""
        return None if self._child is None else self._child.pid

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._supervise())
            group.create_task(self._send_leases())

    async def _supervise(self) -> None:
        pause = 0.0
        while True:
            if self._client is not None:
                reason = await self._watch()
                log.warning("the proxy process is gone, another is started: %s", reason)
                pause = 0.0
            await self._lose()
            await asyncio.sleep(pause)
            pause = min(limits.CONTROL_BACKOFF, 2 * pause + limits.CONTROL_RETRY)
            try:
                await self._bring_up()
                self.restarts += 1
            except RaftchaosError as error:
                log.error("the proxy process could not be started again: %s", error)

    async def _watch(self) -> str:
        """Return, with the reason, once the process has ended or does not answer."""
        child = self._child
        assert child is not None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.CONTROL_PING):
                    await child.ended()
                return "it has ended"
            try:
                if self._client is None or self._client.is_closed:  # a call was given up half-way
                    self._client = await self._connected()
                self._seen = await self._client.effects()
                self._keep_cells(*await self._client.cells())
            except RaftchaosError as error:
                if child.alive:
                    return str(error)

    async def _lose(self) -> None:
        """The process is gone, or goes now."""
        self._set_client(None)
        for run, effect in self._seen.items():
            self._before[run] = merged([self._before.pop(run, {}), effect])
        while len(self._before) > limits.PROXY_EFFECTS:
            del self._before[next(iter(self._before))]
        self._seen = {}
        if self._child is not None:
            child, self._child = self._child, None
            await child.end(0.0)

    async def _adopt(self) -> bool:
        try:
            client = await ProxyClient.connect(self._path)
            hello = await client.hello()
            self._child = Child(int(hello["pid"]), None)
        except (ProxyUnavailable, ProcessLookupError):
            return False
        if hello["version"] != VERSION:
            log.info("the proxy process %d is of release %s and makes room for ours", self._child.pid, hello["version"])
            self._inherited = dict(await client.take_sockets())
            await client.shutdown()
            client.close()
            child, self._child = self._child, None
            await child.end(limits.CONTROL_CALL)
            return False
        log.info("the proxy process %d outlived its main and goes on under this one", self._child.pid)
        self._seen = await client.effects()
        await client.set_faults(())  # what was on belongs to an incarnation that is over
        self._set_client(client)
        return True

    async def _bring_up(self) -> None:
        """Start a process and give it the wanted table."""
        async with self._bringing_up:
            self._child = Child.start(self._path, self._log_path, self._arguments)
            try:
                client = await self._answering(self._child)
                await self._hand_over(client)
            except BaseException:
                child, self._child = self._child, None
                await child.end(0.0)
                raise
            self._set_client(client)

    async def _answering(self, child: Child) -> ProxyClient:
        try:
            async with asyncio.timeout(limits.CONTROL_START):
                while child.alive:
                    with contextlib.suppress(ProxyUnavailable):
                        return await self._connected()
                    await asyncio.sleep(limits.CONTROL_RETRY)
        except TimeoutError:
            raise ProxyUnavailable(f"the proxy process did not answer within {limits.CONTROL_START:g} s") from None
        raise ProxyUnavailable(f"the proxy process ended at once; {self._log_path or 'its log'} says why")

    async def _connected(self) -> ProxyClient:
        client = await ProxyClient.connect(self._path)
        await client.hello()
        return client

    async def _hand_over(self, client: ProxyClient) -> None:
        for proxy in self._proxies.values():
            await client.add_proxy(proxy.spec, proxy.sock)
        self._expire()
        await self._tell_leases(client)
        wanted = [self._with_lease(spec) for spec in self._wanted.values()]
        refused = await client.set_faults(wanted)
        for run, reason in refused.items():
            log.error("the fault %s is off after the restart of the proxy process: %s", run, reason)
            self._wanted.pop(run, None)

    def _set_client(self, client: ProxyClient | None) -> None:
        before, self._client = self._client, client
        if before is not None and before is not client:
            before.close()
        if (before is None) != (client is None):
            self._on_ready(client is not None)

    def _present(self) -> ProxyClient:
        if self._client is None:
            raise ProxyUnavailable("the proxy process is being started again")
        return self._client

    # ---- the lease

    def set_lease(self, end: float, lease: str = NODE_LEASE) -> None:
        """Tell the process the end of a lease, without waiting."""
        self._expire()
        if end > self._lease_ends[lease]:
            self._lease_ends[lease] = end
            self._lease_news.set()

    def _expire(self) -> None:
        now = self._clock.boot()
        self._wanted = {run: spec for run, spec in self._wanted.items() if now < self._lease_ends[spec.lease]}

    def _with_lease(self, spec: FaultSpec) -> FaultSpec:
        return replace(spec, lease_end=max(spec.lease_end, self._lease_ends[spec.lease]))

    async def _tell_leases(self, client: ProxyClient) -> None:
        for lease, end in self._lease_ends.items():
            if end:
                await client.set_lease(end, lease)

    async def _send_leases(self) -> None:
        while True:
            await self._lease_news.wait()
            self._lease_news.clear()
            with contextlib.suppress(RaftchaosError):  # a process that comes is told as well
                if self._client is not None:
                    await self._tell_leases(self._client)

    # ---- faults

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
        """Put a fault on a proxy; returns once it is on. Idempotent. Raises FaultRefused or ProxyUnavailable."""
        known = self._wanted.get(run)
        began = self._clock.boot() if known is None else known.began
        spec = FaultSpec(run, fault, proxy, dict(parameters), seed, lease_end, began, lease)
        self.set_lease(lease_end, lease)
        client = self._present()
        await client.inject(spec)
        self._wanted[run] = spec
        if self._client is not client:  # it went between its answer and now
            raise ProxyUnavailable("the proxy process went while the fault began")

    async def recover(self, run: str, *, replaced: bool = False) -> Effects:
        """Take a fault off, and out of the wanted table; what it did. Idempotent. Raises ProxyUnavailable only if a
        process is there that does not answer; one that is gone bears no fault.
        """
        self._wanted.pop(run, None)
        effect: Effects = {}
        try:
            async with asyncio.timeout(limits.CONTROL_CALL), self._bringing_up:
                if self._client is not None:
                    effect = await self._client.recover(run, replaced=replaced)
                elif self._child is not None and self._child.alive:
                    raise ProxyUnavailable("the proxy process does not answer; it is being killed")
        except TimeoutError:
            raise ProxyUnavailable("the proxy process is being started again") from None
        except ProxyUnavailable:
            if self._child is not None and self._child.alive:
                raise
        return merged([self._before.get(run, {}), effect or self._seen.get(run, {})])

    async def effects(self) -> dict[str, Effects]:
        """What every fault has done that is on, or was recovered and not forgotten."""
        if self._client is not None:
            self._seen = await self._client.effects()
        return {
            run: merged([self._before.get(run, {}), self._seen.get(run, {})]) for run in {**self._before, **self._seen}
        }

    async def active(self) -> dict[str, tuple[str, str]]:
        """What is on, as the process itself says. Raises ProxyUnavailable."""
        return await self._present().active()

    async def forget(self, run: str) -> None:
        """Drop the counters of a recovered fault. Idempotent."""
        self._before.pop(run, None)
        self._seen.pop(run, None)
        if self._client is not None:
            await self._client.forget(run)

    # ---- proxies

    async def add_proxy(
        self, name: str, listen: str, upstream: str, sock: HasFileno, certificate: str = "", key: str = ""
    ) -> None:
        """Relay from this listening socket, which stays the caller's, to `upstream`. Idempotent. Raises Refused."""
        fields = {"name": name, "listen": listen, "upstream": upstream, "certificate": certificate, "key": key}
        proxy = _Proxy(ProxySpec.read(fields), sock)
        if self._client is not None:
            try:
                await self._client.add_proxy(proxy.spec, sock)
            except ProxyUnavailable:
                self._proxies[name] = proxy  # the next process gets it
                raise
        self._proxies[name] = proxy

    async def remove_proxy(self, name: str) -> None:
        """Stop relaying and close the process's copy of the socket. Idempotent."""
        self._proxies.pop(name, None)
        self._wanted = {run: spec for run, spec in self._wanted.items() if spec.proxy != name}
        if self._client is not None:
            await self._client.remove_proxy(name)

    async def take_sockets(self) -> dict[str, HasFileno]:
        """Copies of the listening sockets that the process has, by the name of the proxy; the caller's to close."""
        inherited, self._inherited = self._inherited, {}
        return {**await self._present().take_sockets(), **inherited}

    async def proxies(self) -> dict[str, ProxySpec]:
        """The proxies that the process has: after an adoption those of the main before."""
        hello = await self._present().hello()
        return {fields["name"]: ProxySpec.read(fields) for fields in hello["proxies"]}

    async def stats(self) -> dict[str, dict[str, int]]:
        """Counters of the traffic of each proxy by name; empty while there is no process."""
        return {} if self._client is None else dict((await self._client.stats())["proxies"])

    def take_cells(self) -> list[bytes]:
        """What `core.cells.Cell.decode` reads, one for each second that nobody has taken, oldest first."""
        cells = list(self._cells)
        self._cells.clear()
        return cells

    def _keep_cells(self, cells: Sequence[bytes], dropped: int) -> None:
        room = limits.CELLS_WAITING - len(self._cells)
        self.cells_dropped += dropped + max(0, len(cells) - room)
        self._cells.extend(cells)

    async def figures(self) -> dict[str, float]:
        """`rss_bytes` and `cpu_seconds` of the process; empty while there is none."""
        return {} if self._client is None else dict((await self._client.stats())["process"])

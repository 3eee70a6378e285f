"""The ways to the service that the benchmark of the proxy compares: direct, ours, and others that are installed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import psutil

from raftchaos.clock import SystemClock
from raftchaos.launch import free_port
from raftchaos.proxy.listeners import open_listener
from raftchaos.proxy.process import ProxyProcess

LATENCY, BANDWIDTH = "latency", "bandwidth"
_HAPROXY = """global
  maxconn 5000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen bench
  bind 127.0.0.1:{own} backlog 1024
  server service 127.0.0.1:{service}
"""


class Breaker(Protocol):
    """Puts a fault on a way."""

    async def inject(self, fault: str, amount: float) -> None:
        """`latency` in milliseconds, or `bandwidth` in kilobytes a second, of what the service sends."""
        ...

    async def recover(self, fault: str) -> None:
        """Take it back."""
        ...


@dataclass
class Way:
    """A port that leads to the service, and the process behind it where it is known."""

    name: str
    port: int
    process: psutil.Process | None = None
    breaker: Breaker | None = None

    def cpu(self) -> float:
        """CPU seconds of its process so far."""
        return 0.0 if self.process is None else sum(self.process.cpu_times()[:2])

    def memory(self) -> int:
        """Resident bytes of its process."""
        return 0 if self.process is None else int(self.process.memory_info().rss)


class _Ours:
    def __init__(self, process: ProxyProcess) -> None:
        self._process, self._clock = process, SystemClock()

    async def inject(self, fault: str, amount: float) -> None:
        name = {LATENCY: "latencyMs", BANDWIDTH: "kilobytesPerSecond"}[fault]
        self._run = f"bench-{fault}-{amount}-{self._clock.boot()}"  # a run that is over does not begin again
        await self._process.inject(self._run, fault, "bench", {name: amount}, 1, self._clock.boot() + 300)

    async def recover(self, fault: str) -> None:
        await self._process.recover(self._run)


class _Toxiproxy:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._toxics = session, f"{url}/proxies/bench/toxics"

    async def inject(self, fault: str, amount: float) -> None:
        attributes = {LATENCY: {"latency": int(amount)}, BANDWIDTH: {"rate": int(amount)}}[fault]
        toxic = {"name": fault, "type": fault, "stream": "downstream", "attributes": attributes}
        await _asked(self._session, "POST", self._toxics, toxic)

    async def recover(self, fault: str) -> None:
        await _asked(self._session, "DELETE", f"{self._toxics}/{fault}")


async def _asked(session: aiohttp.ClientSession, method: str, url: str, body: Any = None) -> Any:
    """The answer. Raises SystemExit if it is an error."""
    async with session.request(method, url, json=body) as answer:
        if answer.status >= 400:
            raise SystemExit(f"{method} {url} was answered {answer.status}: {await answer.text()}")
        return await answer.json() if answer.status != 204 else None


@contextlib.asynccontextmanager
async def ours(service: int) -> AsyncIterator[Way]:
    """A proxy process of raftchaos."""
    with tempfile.TemporaryDirectory() as folder, open_listener("127.0.0.1:0") as sock:
        process = ProxyProcess(Path(folder) / "proxy.sock", SystemClock())
        await process.start()
        try:
            own = sock.getsockname()[1]
            await process.add_proxy("bench", f"127.0.0.1:{own}", f"127.0.0.1:{service}", sock)
            yield Way("raftchaos", own, psutil.Process(process.pid), _Ours(process))
        finally:
            await process.stop()


@contextlib.asynccontextmanager
async def haproxy(service: int) -> AsyncIterator[Way]:
    """HAProxy in TCP mode, as Debian sets it up."""
    with tempfile.TemporaryDirectory() as folder:
        own, config = free_port(), Path(folder) / "haproxy.cfg"
        config.write_text(_HAPROXY.format(own=own, service=service))
        words = ["haproxy", "-db", "-q", "-f", str(config)]
        process = await asyncio.create_subprocess_exec(*words, start_new_session=True)  # as ours is, and daemons are
        try:
            await _listens(own)
            yield Way("haproxy", own, psutil.Process(process.pid))
        finally:
            process.kill()
            await process.wait()


async def _listens(port: int, seconds: float = 10) -> None:
    """Wait until something listens there. Raises SystemExit after so many seconds."""
    for _ in range(int(seconds / 0.1)):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    raise SystemExit(f"nothing listened on 127.0.0.1:{port} after {seconds:g} s")


@contextlib.asynccontextmanager
async def toxiproxy(url: str, service: int) -> AsyncIterator[Way]:
    """A toxiproxy server that runs already, or whatever answers its API, on this machine."""
    own = free_port()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        proxy = {"name": "bench", "listen": f"127.0.0.1:{own}", "upstream": f"127.0.0.1:{service}", "enabled": True}
        await _asked(session, "POST", f"{url}/proxies", proxy)
        try:
            yield Way("toxiproxy", own, _listener(own, url), _Toxiproxy(session, url))
        finally:
            await _asked(session, "DELETE", f"{url}/proxies/bench")


def _listener(own: int, url: str) -> psutil.Process | None:
    """Whose port this is; None where it may not be seen, and then neither CPU nor memory is told."""
    with contextlib.suppress(psutil.Error):
        for port in (own, urlsplit(url).port):
            for each in psutil.net_connections("tcp"):
                if each.status == psutil.CONN_LISTEN and each.laddr.port == port and each.pid:
                    return psutil.Process(each.pid)
    return None


@contextlib.asynccontextmanager
async def ways(service: int, toxiproxy_url: str | None) -> AsyncIterator[list[Way]]:
    """Direct, ours, and each of the others that can be had."""
    async with contextlib.AsyncExitStack() as stack:
        found = [Way("direct", service), await stack.enter_async_context(ours(service))]
        if shutil.which("haproxy"):
            found.append(await stack.enter_async_context(haproxy(service)))
        if toxiproxy_url:
            found.append(await stack.enter_async_context(toxiproxy(toxiproxy_url.rstrip("/"), service)))
        yield found


@contextlib.asynccontextmanager
async def service(words: list[str]) -> AsyncIterator[int]:
    """A service as a process of its own, which prints its port; the port."""
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()

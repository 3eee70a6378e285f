"""The HTTP server of a peer."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

from aiohttp import web
from aiohttp.http import HttpProcessingError

from raftchaos import limits
from raftchaos.api.callers import Door, Guard
from raftchaos.api.context import Context
from raftchaos.api.problems import problems
from raftchaos.api.routes import ROUTES
from raftchaos.clock import Clock
from raftchaos.core.minutes import MinuteCounts
from raftchaos.core.services import PeerServices
from raftchaos.errors import MachineUnusable
from raftchaos.identity.entrance import Entrance

log = logging.getLogger(__name__)

SHUTDOWN = 2.0  # how long requests that are being answered may take when the server stops
BACKLOG = 512
HANDSHAKES = 256  # that are under way at once

_REASONS = {
    errno.EADDRINUSE: "another program listens there",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
    errno.EACCES: "this user may not listen there",
}


class _NoHttp(logging.Filter):
    """Keeps what is no HTTP out of the log: strangers could fill it with tracebacks. They are answered with 400."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a request that could not be parsed."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            log.debug("closed a connection to the API that sent no HTTP: %s", str(error)[:200])
            return False
        return True


def http_log() -> logging.Logger:
    """Where aiohttp tells its troubles."""
    found = logging.getLogger(f"{__name__}.http")
    if not found.filters:
        found.addFilter(_NoHttp())
    return found


def _no_tls(address: object, error: BaseException) -> None:
    log.debug("closed a connection to the API from %s that made no TLS handshake: %s", address, error)


class ApiServer:
    """Serves one peer. `start` once, `stop` once."""

    def __init__(self, services: PeerServices, clock: Clock) -> None:
        self._context = Context(services, clock)
        self._failures = MinuteCounts()
        self._runners: list[web.AppRunner] = []
        self._server: asyncio.Server | None = None
        self._entrance: Entrance | None = None
        self._local = ""

    async def start(self, host: str, port: int, door: Door, tls: ssl.SSLContext | None = None) -> str:
        """Listens at `host:port` (port 0: any free one) and returns the address as `HOST:PORT`.

        Raises MachineUnusable, which names the address and the reason, if it cannot listen there.
        """
        factory = await self._serving(door)
        try:
            if tls is not None:
                self._entrance = Entrance(tls, factory, complain=_no_tls, most=HANDSHAKES)
                port = await self._entrance.start(host, port, backlog=BACKLOG)
            else:
                self._server = await asyncio.get_running_loop().create_server(factory, host, port, backlog=BACKLOG)
                port = int(self._server.sockets[0].getsockname()[1])
        except OSError as error:
            await self.stop()
            raise cannot_listen(f"{host}:{port}", "the API", "--listen", error) from error
        return f"{host}:{port}"

    async def start_local(self, path: Path, door: Door) -> None:
        """Listens at a Unix socket that only its user may use, too. Raises MachineUnusable."""
        await self._serving(door)
        self._local = str(path)
        self._forget_local()  # a peer that was killed leaves it; the port says that none runs
        before = os.umask(0o177)
        try:
            await web.UnixSite(self._runners[-1], path, backlog=BACKLOG).start()
        except OSError as error:
            raise MachineUnusable(f"found no way to listen at {path}: {error.strerror or error}") from error
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Ends the event streams, lets answers that are under way finish within seconds, and closes the ports."""
        self._context.closing.set()
        if self._server is not None:
            self._server.close()
        if self._entrance is not None:
            self._entrance.close()
            await self._entrance.wait_closed()
        while self._runners:
            await self._runners.pop().cleanup()
        self._forget_local()

    def _forget_local(self) -> None:
        if self._local:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._local)

    async def _serving(self, door: Door) -> Callable[[], asyncio.Protocol]:
        """Makes the protocols of connections that are judged by this door."""
        known: set[object] = set()
        guard = Guard(self._context.services, self._context.clock, self._failures, door, known)
        app = web.Application(middlewares=[problems], client_max_size=limits.HTTP_BODY)
        for route in ROUTES:
            handler = partial(route.handler, self._context)
            app.router.add_route(route.method, route.path, guard.guarded(route.role, handler, scraped=route.scraped))
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=http_log(),
            keepalive_timeout=limits.HTTP_IDLE,
            shutdown_timeout=SHUTDOWN,
        )
        await runner.setup()
        self._runners.append(runner)
        server = runner.server
        assert server is not None
        return lambda: bounded(server, known, limits.HTTP_CONNECTIONS)


def cannot_listen(address: str, what: str, option: str, error: OSError) -> MachineUnusable:
    """Why `what` cannot be served at an address that was given by `option`."""
    reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
    return MachineUnusable(
        f"found no way to listen at {address} for {what}: {reason}",
        hint=f"choose another address with {option}, or stop the program that has it",
        details={"address": address},
    )


def bounded(server: web.Server, known: set[object], most: int) -> asyncio.Protocol:
    """The protocol of one more connection. Of too many the oldest that has not said who calls is closed."""
    found = [one for one in server.connections if one.transport is not None and not one.transport.is_closing()]
    known.intersection_update(found)
    if len(found) >= most:
        oldest = next((one for one in found if one not in known), found[0])
        assert isinstance(oldest.transport, asyncio.Transport)
        oldest.transport.abort()
    return server()

"""The HTTP server of a peer."""

from __future__ import annotations

import errno
import logging
import ssl
from functools import partial

from aiohttp import web
from aiohttp.http import HttpProcessingError

from raftchaos import limits
from raftchaos.api.context import Context
from raftchaos.api.problems import problems
from raftchaos.api.routes import ROUTES
from raftchaos.clock import Clock
from raftchaos.core.services import PeerServices
from raftchaos.errors import MachineUnusable

log = logging.getLogger(__name__)

SHUTDOWN = 2.0  # how long requests that are being answered may take when the server stops
BACKLOG = 512

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


def _http_log() -> logging.Logger:
    """Where aiohttp tells its troubles."""
    found = logging.getLogger(f"{__name__}.http")
    if not found.filters:
        found.addFilter(_NoHttp())
    return found


class ApiServer:
    """Serves one peer. `start` once, `stop` once."""

    def __init__(self, services: PeerServices, clock: Clock) -> None:
        self._context = Context(services, clock)
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None = None) -> str:
        """Listens at `host:port` (port 0: any free one) and returns the address as `HOST:PORT`.

        Raises MachineUnusable, which names the address and the reason, if it cannot listen there.
        """
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=_http_log(),
            keepalive_timeout=limits.HTTP_IDLE,
            shutdown_timeout=SHUTDOWN,
        )
        await runner.setup()
        site = web.TCPSite(runner, host, port, ssl_context=ssl_context, backlog=BACKLOG)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
            raise MachineUnusable(
                f"found no way to listen at {host}:{port} for the API: {reason}",
                hint="choose another address with --listen, or stop the program that has it",
                details={"address": f"{host}:{port}"},
            ) from error
        self._runner = runner
        bound = runner.addresses[0]
        return f"{host}:{bound[1]}"

    async def stop(self) -> None:
        """Ends the event streams, lets answers that are under way finish within seconds, and closes the port."""
        self._context.closing.set()
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[problems], client_max_size=limits.HTTP_BODY)
        for route in ROUTES:
            app.router.add_route(route.method, route.path, partial(route.handler, self._context))
        return app

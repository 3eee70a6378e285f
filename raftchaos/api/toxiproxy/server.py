"""The port on which toxiproxy's API is answered."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiohttp import web

from raftchaos import limits
from raftchaos.api.server import BACKLOG, SHUTDOWN, bounded, cannot_listen, http_log
from raftchaos.api.toxiproxy.collection import Collection
from raftchaos.api.toxiproxy.metrics import CONTENT_TYPE, exposition
from raftchaos.api.toxiproxy.words import bad_body, parse
from raftchaos.core.caller_proxies import CallerProxies
from raftchaos.errors import RaftchaosError

log = logging.getLogger(__name__)

VERSION: Final = "2.9.0"
"""The release of toxiproxy whose API this is: by it clients choose what they send."""
BROWSER: Final = "Mozilla/"
"""How the User-Agent of every browser begins: a page must not command a service on the machine of who reads it."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ToxiproxyServer:
    """Answers toxiproxy's API for one peer. `start` once, `stop` once."""

    def __init__(self, world: CallerProxies) -> None:
        self._collection = Collection(world)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen at `host:port` (0: any free port); the port. Raises MachineUnusable."""
        app = web.Application(middlewares=[_answered], client_max_size=limits.DOCUMENT)
        app.router.add_routes(self._routes())
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=http_log(),
            keepalive_timeout=limits.HTTP_IDLE,
            shutdown_timeout=SHUTDOWN,
        )
        await runner.setup()
        self._runner = runner
        assert runner.server is not None
        factory = partial(bounded, runner.server, set(), limits.TOXIPROXY_CONNECTIONS)
        try:
            self._server = await asyncio.get_running_loop().create_server(factory, host, port, backlog=BACKLOG)
        except OSError as error:
            await self.stop()
            raise cannot_listen(f"{host}:{port}", "toxiproxy's API", "--toxiproxy-listen", error) from error
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port; answers that are under way may finish within seconds."""
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        one, toxics = "/proxies/{proxy}", "/proxies/{proxy}/toxics"
        toxic = toxics + "/{toxic:[^/]+}"
        return [
            web.get("/version", self._version),
            web.get("/metrics", self._metrics),
            web.post("/reset", self._reset),
            web.post("/populate", self._populate),
            web.get("/proxies", self._list),
            web.post("/proxies", self._create),
            web.get(one, self._show),
            web.post(one, self._update),
            web.patch(one, self._update),
            web.delete(one, self._delete),
            web.get(toxics, self._list_toxics),
            web.post(toxics, self._add_toxic),
            web.get(toxic, self._show_toxic),
            web.post(toxic, self._update_toxic),
            web.patch(toxic, self._update_toxic),
            web.delete(toxic, self._delete_toxic),
        ]

    # ---- handlers

    async def _version(self, request: web.Request) -> web.Response:
        return _json({"version": VERSION})

    async def _metrics(self, request: web.Request) -> web.Response:
        text = exposition((await self._collection.records()).values())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _reset(self, request: web.Request) -> web.Response:
        await self._collection.reset()
        return web.Response(status=204)

    async def _populate(self, request: web.Request) -> web.Response:
        return _json({"proxies": await self._collection.populate(await _body(request))}, 201)

    async def _list(self, request: web.Request) -> web.Response:
        return _json(await self._collection.proxies())

    async def _create(self, request: web.Request) -> web.Response:
        return _json(await self._collection.create(await _body(request)), 201)

    async def _show(self, request: web.Request) -> web.Response:
        return _json(await self._collection.proxy(_proxy(request)))

    async def _update(self, request: web.Request) -> web.Response:
        return _json(await self._collection.update(_proxy(request), await _body(request)))

    async def _delete(self, request: web.Request) -> web.Response:
        await self._collection.delete(_proxy(request))
        return web.Response(status=204)

    async def _list_toxics(self, request: web.Request) -> web.Response:
        return _json(await self._collection.toxics(_proxy(request)))

    async def _add_toxic(self, request: web.Request) -> web.Response:
        return _json(await self._collection.add_toxic(_proxy(request), await _body(request)))

    async def _show_toxic(self, request: web.Request) -> web.Response:
        return _json(await self._collection.toxic(*_toxic(request)))

    async def _update_toxic(self, request: web.Request) -> web.Response:
        return _json(await self._collection.update_toxic(*_toxic(request), await _body(request)))

    async def _delete_toxic(self, request: web.Request) -> web.Response:
        await self._collection.delete_toxic(*_toxic(request))
        return web.Response(status=204)


def _proxy(request: web.Request) -> str:
    """The proxy in the path."""
    return request.match_info["proxy"]


def _toxic(request: web.Request) -> tuple[str, str]:
    """The proxy and the toxic in the path."""
    return _proxy(request), request.match_info["toxic"]


async def _body(request: web.Request) -> Any:
    try:
        async with asyncio.timeout(limits.HTTP_BODY_TIME):
            return parse(await request.read())
    except TimeoutError:
        raise bad_body(f"it was not there within {limits.HTTP_BODY_TIME:g} s") from None


def _json(data: Any, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(data).encode(), status=status, content_type="application/json")


def _error(message: str, status: int) -> web.Response:
    return _json({"error": message, "status": status}, status)


@web.middleware
async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns browsers away, and whatever a handler raises into toxiproxy's form of an error."""
    if request.headers.get("User-Agent", "").startswith(BROWSER):
        return web.Response(text="User agent not allowed\n", status=403)
    try:
        return await handler(request)
    except RaftchaosError as error:
        return _error(error.message, error.spec.http_status)
    except web.HTTPRequestEntityTooLarge:
        return _error(f"bad request body: it is larger than {limits.DOCUMENT} bytes", 413)
    except web.HTTPException as error:
        return _error(error.reason.lower(), error.status)
    except (ConnectionResetError, TimeoutError):
        raise
    except Exception:  # a defect: it is logged with its place, and the caller is told nothing of the inside
        log.exception("the answer to %s %s failed", request.method, request.path)
        return _error("the peer failed to answer; its log has the details", 500)

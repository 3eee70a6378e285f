"""Where connections come in: a listening socket that can be taken down, so that the kernel refuses who connects."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any

from raftchaos import limits
from raftchaos.identity.termination import Termination

log = logging.getLogger("raftchaos.proxy")


class Entrance:
    """Accepts connections from a listening socket, which stays the caller's."""

    def __init__(
        self, sock: socket.socket, accept: Callable[[], asyncio.Protocol], tls: Termination | None = None
    ) -> None:
        self._sock = sock
        self._connected = accept
        self._tls = tls
        self._open = True  # as it shall be
        self._servers: list[asyncio.Server] = []
        self._opening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections. Raises OSError if the socket cannot listen, or without free file descriptors."""
        self._share_port(True)
        # the loop closes its socket in the end; ours stays for the next main
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {}
        if self._tls is not None:
            options = {
                "ssl": self._tls.context,
                "ssl_handshake_timeout": limits.PROXY_CONNECT,
                "ssl_shutdown_timeout": limits.PROXY_TLS_END,
            }
        try:
            # uvloop accepts one connection of each a turn, which is as long as all open connections keep us busy
            while self._open and len(self._servers) < limits.PROXY_ACCEPTS:
                server = await loop.create_server(
                    self._accept, sock=self._sock.dup(), backlog=limits.PROXY_BACKLOG, start_serving=False, **options
                )
                self._servers.append(server)  # first, so that it is closed whatever happens meanwhile
                await server.start_serving()
        except OSError:
            self._close_servers()
            raise

    def _accept(self) -> asyncio.Protocol:
        if self._tls is not None:
            self._tls.refresh()
        return self._connected()

    async def stop(self) -> None:
        """Accept nothing more. The socket listens on if it did."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        self._close_servers()

    def set_open(self, is_open: bool) -> None:
        """Listen, or do not: then connecting is refused, and who waits to be accepted is reset."""
        if is_open == self._open:
            return
        self._open = is_open
        if not is_open:
            self._take_down()
        elif self._opening is None or self._opening.done():
            self._share_port(True)
            with contextlib.suppress(OSError):  # tried again below; who connects from now on waits in the backlog
                self._sock.listen(limits.PROXY_BACKLOG)
            self._opening = asyncio.get_running_loop().create_task(self._reopen())

    def _take_down(self) -> None:
        self._close_servers()
        self._share_port(False)
        with contextlib.suppress(OSError):  # it is down already
            self._sock.shutdown(socket.SHUT_RDWR)

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _share_port(self, shared: bool) -> None:
        """Whether others may bind the port while nothing listens: not while it is down, or any server could take it;
        but to listen again beside connections that are open still needs it (SO_REUSEADDR, socket(7))."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, shared)

    async def _reopen(self) -> None:
        """Somebody may have taken the port meanwhile: then try until it is free again."""
        while self._open and not self._servers:
            try:
                await self.start()
            except OSError as error:
                log.error("the proxy cannot listen again: %s", error)
                await asyncio.sleep(limits.LISTEN_RETRY)
        if not self._open:
            self._take_down()

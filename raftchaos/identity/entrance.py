"""A listening port for TLS: a bounded number of handshakes, each within its time, before anybody else hears of the
connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

from raftchaos import limits

Complain = Callable[[object, BaseException], None]
"""Told the address of a connection whose handshake failed, and why."""

_AGAIN: Final = 0.1  # after an accept that failed, as for want of file descriptors


class Entrance:
    """Hands on only what has made its handshake. `start` and `close` once.

    Of too many handshakes at a time the oldest is given up: an honest one takes milliseconds.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        factory: Callable[[], asyncio.Protocol],
        *,
        complain: Complain,
        most: int = limits.HANDSHAKES_OPEN,
        seconds: float = limits.HANDSHAKE,
    ) -> None:
        self._context, self._factory, self._complain = context, factory, complain
        self._most, self._seconds = most, seconds
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._shaking: dict[asyncio.Task[None], object] = {}  # with the address, the oldest first
        self._accepted: set[socket.socket] = set()  # whose handshake has not begun

    async def start(self, host: str, port: int, *, backlog: int) -> int:
        """Listen at every address of this host; returns the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                self._listening.append(_listen(family, address, backlog))
        except OSError:
            self._stop_listening()
            raise
        self._accepting = [loop.create_task(self._accept(sock)) for sock in self._listening]
        return int(self._listening[0].getsockname()[1])

    @property
    def shaking(self) -> int:
        """Handshakes that are under way."""
        return len(self._shaking)

    def close(self) -> None:
        """Listen no more, and give up what is under way."""
        for task in [*self._accepting, *self._shaking]:
            task.cancel()

    async def wait_closed(self) -> None:
        """Returns once nothing is under way any more."""
        await asyncio.gather(*self._accepting, *self._shaking, return_exceptions=True)
        self._stop_listening()

    def _stop_listening(self) -> None:
        for sock in (*self._listening, *self._accepted):
            sock.close()
        self._listening.clear()
        self._accepted.clear()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(_AGAIN)
                continue
            if len(self._shaking) >= self._most:
                oldest = next(iter(self._shaking))
                error = TimeoutError("too many connections that do not finish their handshake")
                self._complain(self._shaking.pop(oldest), error)
                oldest.cancel()
            self._accepted.add(sock)
            task = loop.create_task(self._shake(sock, address))
            self._shaking[task] = address
            task.add_done_callback(partial(self._shaken, sock))
            await asyncio.sleep(0)  # in a burst `sock_accept` never waits, and nothing else would get its turn

    async def _shake(self, sock: socket.socket, address: object) -> None:
        self._accepted.discard(sock)  # from here on its transport closes it
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._factory, sock, ssl=self._context, ssl_handshake_timeout=self._seconds
            )
        except (OSError, TimeoutError) as error:
            self._complain(address, error)

    def _shaken(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._shaking.pop(task, None)
        if sock in self._accepted:  # given up before it began
            self._accepted.discard(sock)
            sock.close()


def _listen(family: int, address: tuple[object, ...], backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
        undo.pop_all()
    return sock

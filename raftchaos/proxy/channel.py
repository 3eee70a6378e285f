"""One end of a control connection in an event loop. Plain sockets, since transports do not pass file descriptors."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raftchaos import limits
from raftchaos.proxy.control import ANCILLARY, HEADER, BadFrame, body_length, decode, encode, received_fds

_READ = 65536


class Channel:
    """Sends and receives frames with file descriptors. One sender and one receiver at a time."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._fds: list[int] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self.closed = False

    async def send(self, message: Mapping[str, Any], fds: Sequence[int] = (), *, timeout: float) -> None:
        """Send one frame within `timeout` seconds. Raises OSError, TimeoutError or BadFrame (too large)."""
        data = memoryview(encode(message))
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        async with asyncio.timeout(timeout):
            while data:
                try:
                    sent = self._sock.sendmsg([data], ancillary)
                except BlockingIOError:
                    await self._until(self._loop.add_writer, self._loop.remove_writer)
                    continue
                data, ancillary = data[sent:], []

    async def receive(self, *, timeout: float | None = None) -> tuple[dict[str, Any], list[int]] | None:
        """The next message and the file descriptors that came with it, which are the caller's to close; None: closed.

        `timeout` is for the first byte; a frame that has begun must end within `limits.CONTROL_CALL`. Raises OSError,
        TimeoutError or BadFrame; the connection is of no use then.
        """
        if len(self._buffer) < 1:
            async with asyncio.timeout(timeout):
                if not await self._fill():
                    return None
        async with asyncio.timeout(limits.CONTROL_CALL):
            header = await self._take(HEADER.size)
            message = decode(await self._take(body_length(header)))
        fds, self._fds = self._fds, []
        return message, fds

    def close(self) -> None:
        """Close the connection and what was received but not taken; who waits for it gets an OSError. Idempotent."""
        if self.closed:
            return
        self.closed = True
        for ready in self._waiting:
            if not ready.done():
                ready.set_exception(ConnectionError("the connection was closed here"))
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        close_all(self._fds)
        self._fds = []
        self._sock.close()

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not await self._fill():
                raise BadFrame("the connection ended within a frame")
        part = bytes(self._buffer[:size])
        del self._buffer[:size]
        return part

    async def _fill(self) -> bool:
        while True:
            try:
                data, ancillary, _, _ = self._sock.recvmsg(_READ, ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await self._until(self._loop.add_reader, self._loop.remove_reader)
                continue
            self._fds += received_fds(ancillary)
            if len(self._fds) > limits.CONTROL_FDS:
                raise BadFrame("too many file descriptors")
            self._buffer += data
            return bool(data)

    async def _until(self, add: Callable[..., Any], remove: Callable[[Any], Any]) -> None:
        """Wait until the socket can be read or written."""
        ready: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(ready)
        add(self._sock, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            self._waiting.discard(ready)
            if not self.closed:
                remove(self._sock)


def close_all(fds: Sequence[int]) -> None:
    """Close file descriptors nobody has a use for."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)

"""One TCP connection: bytes in, whole frames out, nothing unbounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from raftchaos import limits
from raftchaos.consensus.handshake import HELLO_FRAME, SIZE
from raftchaos.consensus.node import PeerNode

if TYPE_CHECKING:
    from raftchaos.consensus.transport import TcpTransport

BUFFER: Final = 4 * limits.FRAME  # a peer that leaves this much unread loses its connection


class Connection(asyncio.Protocol):
    """A connection to `node`, or from somebody who has yet to say who it is (`node` is None)."""

    def __init__(self, owner: TcpTransport, node: PeerNode | None) -> None:
        self.node = node
        self.outgoing = node is not None
        self.greeted = False
        self.incarnation = 0
        self.peername: object = None
        self.certificate: Mapping[str, Any] | None = None
        """What the other side has shown and TLS has verified."""
        self.settled = asyncio.Event()
        """It is greeted, or gone."""
        self.gone = asyncio.Event()
        self.opened_at = self.heard_at = self.wrote_at = asyncio.get_running_loop().time()
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    # ---- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is not a subclass of asyncio's
        self.peername = transport.get_extra_info("peername")
        self.certificate = transport.get_extra_info("peercert")
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small messages leave at once
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Hand on every whole frame."""
        if self.closing:
            return
        self.heard_at = self._loop.time()
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= SIZE.size:
            (size,) = SIZE.unpack_from(self._buffer, at)
            limit = limits.FRAME if self.greeted else HELLO_FRAME
            if size > limit:
                self._owner.complaints.closed(self.peername, f"it announced a frame larger than {limit} bytes")
                self.abort()
                return
            end = at + SIZE.size + size
            if len(self._buffer) < end:
                break
            if size and not self._frame(bytes(self._buffer[at + SIZE.size : end])):
                self.close()
                return
            at = end
        del self._buffer[:at]

    def _frame(self, body: bytes) -> bool:
        view = memoryview(body)
        if self.greeted:
            return self._owner.deliver(self, view)
        self.greeted = self._owner.greet(self, view)
        self.settled.set()
        return self.greeted

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._buffer.clear()
        if self.node is not None and self._transport is not None and not self.greeted:
            self._owner.unsuccessful(self.node, error)
        self.settled.set()
        self.gone.set()
        self._owner.ended(self)

    # ---- what the transport calls

    @property
    def closing(self) -> bool:
        """It was closed on this side."""
        return self._transport is None or self._transport.is_closing()

    @property
    def pending(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def send(self, body: bytes) -> bool:
        """Send a frame; False if it is too large, the connection is closing, or the other side does not read."""
        if self.closing or len(body) > limits.FRAME:
            return False
        if self.pending > BUFFER:
            self.abort()
            return False
        self.write(SIZE.pack(len(body)) + body)
        return True

    def write(self, data: bytes) -> None:
        """Send bytes that are whole frames."""
        if self._transport is not None and not self._transport.is_closing():
            self.wrote_at = self._loop.time()
            self._transport.write(data)

    def close(self) -> None:
        """Close after what was written has left."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def give_up(self) -> None:
        """Close at once what may not even stand yet.

        An attempt that is given up at the very moment at which the connection stands is closed by uvloop, which never
        says that it is lost; so that is said here, or the other side would count as connected for ever.
        """
        self.abort()
        if not self.gone.is_set():
            self.connection_lost(None)

"""Where connections to a TLS port arrive: a bounded number of handshakes, each within its time, before anybody else
hears of the connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from raftchaos import limits

Complain = Callable[[object, BaseException], None]
"""Told the address of a connection whose handshake failed, and why."""


class Entrance:
    """A protocol factory for a plain listening socket, which hands on only what has made its handshake.

    Of too many handshakes at a time the oldest is given up: an honest one takes milliseconds.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        factory: Callable[[], asyncio.BaseProtocol],
        *,
        complain: Complain,
        most: int = limits.HANDSHAKES_OPEN,
        seconds: float = limits.HANDSHAKE,
    ) -> None:
        self._context, self._factory, self._complain = context, factory, complain
        self._most, self._seconds = most, seconds
        self._arrived: dict[_Arrival, asyncio.Task[None]] = {}
        self._closed = False

    def __call__(self) -> asyncio.Protocol:
        """A protocol for one more connection."""
        return _Arrival(self)

    @property
    def shaking(self) -> int:
        """Handshakes that are under way."""
        return len(self._arrived)

    def close(self) -> None:
        """Give up what is under way."""
        self._closed = True
        for arrival in list(self._arrived):
            arrival.abort()

    async def wait_closed(self) -> None:
        """Returns once nothing is under way any more."""
        await asyncio.gather(*self._arrived.values(), return_exceptions=True)

    def arrived(self, arrival: _Arrival) -> None:
        """A connection stands."""
        if self._closed:
            arrival.abort()
            return
        if len(self._arrived) >= self._most:
            oldest = next(iter(self._arrived))
            self._complain(oldest.address, TimeoutError("too many connections that do not finish their handshake"))
            oldest.abort()
            self._arrived.pop(oldest).cancel()
        self._arrived[arrival] = asyncio.get_running_loop().create_task(self._shake(arrival))

    async def _shake(self, arrival: _Arrival) -> None:
        waiting = _Waiting()
        try:
            secure = await asyncio.get_running_loop().start_tls(
                cast(asyncio.WriteTransport, arrival.transport),
                waiting,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._seconds,
            )
        except (OSError, TimeoutError) as error:
            arrival.abort()
            self._complain(arrival.address, error)
            return
        except asyncio.CancelledError:
            arrival.abort()
            raise
        finally:
            self._arrived.pop(arrival, None)
        if secure is not None:
            waiting.hand_over(secure, self._factory)


class _Arrival(asyncio.Protocol):
    """A connection before its handshake: nothing is read from it here."""

    def __init__(self, owner: Entrance) -> None:
        self._owner = owner
        self.transport: asyncio.Transport | None = None
        self.address: object = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.pause_reading()
        self.address = transport.get_extra_info("peername")
        self._owner.arrived(self)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class _Waiting(asyncio.Protocol):
    """Keeps what comes between the end of the handshake and the turn of its task: a read or two of the loop."""

    def __init__(self) -> None:
        self._data: list[bytes] = []
        self._ended = self._lost = False

    def data_received(self, data: bytes) -> None:
        self._data.append(data)

    def eof_received(self) -> None:
        self._ended = True

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True

    def hand_over(self, transport: asyncio.Transport, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        """The connection is another protocol's from now on."""
        if self._lost:
            return
        protocol = cast(asyncio.Protocol, factory())
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        for data in self._data:
            protocol.data_received(data)
        if self._ended:
            protocol.eof_received()

"""The sockets of one connection: carries out what its engine says.

The quick way, with no fault on, is `data_received` of one side straight into `write` of the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence
from typing import Protocol, cast

from raftchaos import limits
from raftchaos.proxy.commands import (
    DOWNSTREAM,
    UPSTREAM,
    Close,
    Command,
    Connect,
    Pause,
    Reset,
    Resume,
    Send,
    Shutdown,
    Wake,
)
from raftchaos.proxy.engine import Engine
from raftchaos.proxy.pipes import DIRECTIONS
from raftchaos.proxy.splice import Splice, Splices
from raftchaos.proxy.stats import Stats
from raftchaos.proxy.timers import Entry, Timers
from raftchaos.proxy.toxic import Fault

_WRITE = 1  # reasons to read nothing from one side: the other side takes nothing
_ENGINE = 2  # the engine wants it
_CONNECTING = 4  # there is no other side yet
_TURN = 16  # it is the turn of others: a fault may take long over much data
_ANSWERS = 8  # the client does not read the answers that a fault gives it
_SPLICED = 32  # the kernel moves what comes
_LARGE_READ = 64 * 1024
_LINGER_NONE = struct.pack("ii", 1, 0)


class Owner(Protocol):
    """What a relay needs of the proxy that it belongs to."""

    stats: Stats
    upstream: tuple[str, int]
    timers: Timers
    splices: Splices

    def now(self) -> float:
        """CLOCK_BOOTTIME, seconds."""
        ...

    def check_lease(self, now: float) -> None:
        """End all faults of the process if the lease has passed."""
        ...

    def opened(self, relay: Relay) -> list[Command]:
        """A client has connected: the engine's first commands."""
        ...

    def closed(self, relay: Relay) -> None:
        """Both sockets are closed."""
        ...


class Side(asyncio.Protocol):
    """The socket from which one direction comes."""

    __slots__ = ("_direction", "_relay", "transport")

    def __init__(self, relay: Relay, direction: int) -> None:
        self._relay = relay
        self._direction = direction
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        prepare(self.transport)
        self._relay.made(self._direction)

    def data_received(self, data: bytes) -> None:
        self._relay.data(self._direction, data)

    def eof_received(self) -> bool:
        self._relay.eof(self._direction)
        return self.transport is not None and is_plain(self.transport)  # the other half stays open; TLS has none

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._relay.lost(self._direction)

    def pause_writing(self) -> None:
        self._relay.hold(1 - self._direction, _WRITE)

    def resume_writing(self) -> None:
        self._relay.free(1 - self._direction, _WRITE)
        self._relay.free(self._direction, _ANSWERS)


class Relay:
    """One connection through a proxy."""

    __slots__ = (
        "_connecting",
        "_early",
        "_held",
        "_owner",
        "_sides",
        "_splices",
        "_stats",
        "_timer",
        "engine",
        "is_closed",
    )

    def __init__(self, owner: Owner, engine: Engine) -> None:
        self._owner = owner
        self._stats = owner.stats
        self.engine = engine
        self._sides = (Side(self, UPSTREAM), Side(self, DOWNSTREAM))  # by the direction that comes from them
        self._held = [0, 0]
        self._splices: list[Splice | None] = [None, None]  # by direction
        self._early: list[bytes] = []  # what the client sent before the service was reached
        self._connecting: asyncio.Task[None] | None = None
        self._timer: Entry | None = None
        self.is_closed = False

    @property
    def client(self) -> Side:
        """The protocol of the client's socket."""
        return self._sides[UPSTREAM]

    @property
    def client_address(self) -> str:
        """IP address of the client; empty if it is gone already."""
        transport = self._sides[UPSTREAM].transport
        peer = None if transport is None else transport.get_extra_info("peername")
        return str(peer[0]) if peer else ""

    # ---- events of the sockets

    def made(self, direction: int) -> None:
        """A socket is there: the client's first, then the service's."""
        if direction == UPSTREAM:
            transport = self._sides[UPSTREAM].transport
            self.engine.half_close = transport is None or is_plain(transport)
            self.run(self._owner.opened(self))
        elif self.engine.ended:
            self.abort()
        else:
            early, self._early = self._early, []
            for data in early:
                if data:
                    self.data(UPSTREAM, data)
                else:
                    self.eof(UPSTREAM)
            self.free(UPSTREAM, _CONNECTING)

    def data(self, direction: int, data: bytes) -> None:
        """Data from the source of `direction`."""
        engine = self.engine
        transport = self._sides[1 - direction].transport
        if transport is None:
            self._too_early(direction, data)
            return
        if direction == UPSTREAM:
            self._stats.bytes_up += len(data)
        else:
            self._stats.bytes_down += len(data)
        now = self._owner.now()
        if engine.passive and engine.track(direction, data, now):
            if len(data) < limits.PROXY_SPLICE_READ or not self._splice(direction, data):
                transport.write(data)
            return
        self._stats.unsent[direction] += len(data)
        self._owner.check_lease(now)
        self.run(engine.receive(direction, data, now))
        if len(data) >= _LARGE_READ:  # the loop would go on with this socket as long as there is more
            self.hold(direction, _TURN)
            asyncio.get_running_loop().call_soon(self.free, direction, _TURN)
        if direction == UPSTREAM and engine.answers and self._held[DOWNSTREAM] & _WRITE:
            self.hold(UPSTREAM, _ANSWERS)

    def eof(self, direction: int) -> None:
        """The source of `direction` sends nothing more."""
        if self._sides[1 - direction].transport is None:
            self._too_early(direction, b"")
        else:
            self.run(self.engine.eof(direction, self._owner.now()))

    def _too_early(self, direction: int, data: bytes) -> None:
        """The client spoke (b"": and ended) before the service was reached. One read of it is kept, then it waits:
        pausing while the socket is new has no effect in uvloop.
        """
        if direction == UPSTREAM and not self.engine.ended:
            self._early.append(data)
            self.hold(UPSTREAM, _CONNECTING)

    def lost(self, direction: int) -> None:
        """A socket is closed: by the engine's command, or because it broke."""
        if self.engine.ended:
            self._finish_when_gone()
        elif direction != UPSTREAM or not (self.engine.finishing or self._ended_early()):
            self.run(self.engine.failed(direction, self._owner.now()))

    def _ended_early(self) -> bool:
        """A client of TLS, which has gone with its end, had said all before the service was reached."""
        return not self.engine.half_close and self._early[-1:] == [b""]

    def _woken(self) -> None:
        self._timer = None
        now = self._owner.now()
        self._owner.check_lease(now)
        self.run(self.engine.wake(now))

    def set_faults(self, faults: Sequence[Fault], now: float) -> None:
        """The faults on this connection are these now, also for what the kernel has moved until now."""
        self.run(self.engine.set_faults(faults, now))
        if not self.engine.passive:
            for direction in DIRECTIONS:
                self.unsplice(direction)

    # ---- bulk

    def _splice(self, direction: int, data: bytes) -> bool:
        """Let the kernel move what follows `data`, if that can be done and is worth it. Data that was written before
        goes first, so there must be none.
        """
        source, sink = self._sides[direction].transport, self._sides[1 - direction].transport
        if source is None or sink is None or self._held[direction] or sink.get_write_buffer_size():
            return False
        if self.engine.untouched(direction) < limits.PROXY_SPLICE_LEAST or not (is_plain(source) and is_plain(sink)):
            return False
        fds = (source.get_extra_info("socket").fileno(), sink.get_extra_info("socket").fileno())
        try:
            self._splices[direction] = self._owner.splices.begin(self, direction, *fds, data)
        except OSError:  # no pipe can be had for it: the usual way does as well
            return False
        self.hold(direction, _SPLICED)
        return True

    def untouched(self, direction: int) -> int:
        """See `splice.Spliced`."""
        return self.engine.untouched(direction)

    def spliced(self, direction: int, count: int) -> None:
        """See `splice.Spliced`."""
        self.engine.passed(direction, count)
        if direction == UPSTREAM:
            self._stats.bytes_up += count
        else:
            self._stats.bytes_down += count

    def unsplice(self, direction: int, broken: int | None = None) -> None:
        """The kernel moves no more of this direction. What it has taken goes first. Idempotent."""
        splice, self._splices[direction] = self._splices[direction], None
        if splice is None:
            return
        held = splice.end()
        if held and (transport := self._open_transport(direction)) is not None:
            transport.write(held)
        if broken is not None and (lost := self._sides[broken].transport) is not None:
            lost.abort()  # the error was told to the splice, and is told but once
        self.free(direction, _SPLICED)

    # ---- commands of the engine

    def run(self, commands: Sequence[Command]) -> None:
        """Carry out what the engine said, in order."""
        for command in commands:
            if type(command) is Send:
                transport = self._open_transport(command.direction)
                if transport is not None:
                    self._stats.unsent[command.direction] -= len(command.data)
                    transport.write(command.data)
            else:
                self._act(command)

    def _act(self, command: Command) -> None:
        match command:
            case Wake(at):
                self._wake(at)
            case Pause(direction):
                self.hold(direction, _ENGINE)
            case Resume(direction):
                self.free(direction, _ENGINE)
            case Connect():
                self._connecting = asyncio.get_running_loop().create_task(self._reach_upstream())
            case Shutdown(direction):
                transport = self._open_transport(direction)
                if transport is not None and transport.can_write_eof():
                    with contextlib.suppress(OSError):  # the other end may be gone already
                        transport.write_eof()
            case Close():
                self._close()
            case Reset():
                if (client := self._sides[UPSTREAM].transport) is not None:
                    reset_on_close(client)
                self.abort()

    def _open_transport(self, direction: int) -> asyncio.Transport | None:
        """To where `direction` leads, if that can still be written to."""
        if self._splices[direction] is not None:
            self.unsplice(direction)
        transport = self._sides[1 - direction].transport
        return None if transport is None or transport.is_closing() else transport

    def _wake(self, at: float) -> None:
        timer = self._timer
        if timer is not None:
            if timer.at <= at:
                return
            self._owner.timers.cancel(timer)
        self._timer = self._owner.timers.set(at, self._woken)

    def _close(self) -> None:
        for direction in DIRECTIONS:
            self.unsplice(direction)
        for side in self._sides:
            if side.transport is not None:
                side.transport.close()
        self._finish_when_gone()

    def abort(self) -> None:
        """Close both sockets at once; what was not sent is lost."""
        self.engine.drop()
        if self._connecting is not None:
            self._connecting.cancel()
        for direction in DIRECTIONS:
            self.unsplice(direction)
        for side in self._sides:
            if side.transport is not None:
                side.transport.abort()
        self._finish_when_gone()

    # ---- inside

    async def _reach_upstream(self) -> None:
        host, port = self._owner.upstream
        try:
            async with asyncio.timeout(limits.PROXY_CONNECT):
                await asyncio.get_running_loop().create_connection(lambda: self._sides[DOWNSTREAM], host, port)
        except (OSError, TimeoutError):
            self._stats.upstream_errors += 1
            self._sides[DOWNSTREAM].connection_lost(None)
        except asyncio.CancelledError:  # at the very instant at which it was reached, uvloop closes it and tells nobody
            self._sides[DOWNSTREAM].connection_lost(None)
            raise
        finally:
            self._connecting = None

    def hold(self, direction: int, reason: int) -> None:
        """Read nothing from the source of `direction`, for this reason."""
        before, self._held[direction] = self._held[direction], self._held[direction] | reason
        transport = self._sides[direction].transport
        if not before and transport is not None and not transport.is_closing():
            transport.pause_reading()

    def free(self, direction: int, reason: int) -> None:
        """This reason is gone; read again if there is no other."""
        before, self._held[direction] = self._held[direction], self._held[direction] & ~reason
        transport = self._sides[direction].transport
        if before and not self._held[direction] and transport is not None and not transport.is_closing():
            transport.resume_reading()

    def _finish_when_gone(self) -> None:
        if self.is_closed or any(side.transport is not None for side in self._sides):
            return
        self.is_closed = True
        if self._timer is not None:
            self._owner.timers.cancel(self._timer)
            self._timer = None
        self._owner.closed(self)


def prepare(transport: asyncio.Transport) -> None:
    """Send small data at once; notice a machine that is gone."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    transport.set_write_buffer_limits(high=limits.PROXY_BUFFER)


def is_plain(transport: asyncio.Transport) -> bool:
    """Whether what is read from it is what its socket gets."""
    return transport.get_extra_info("sslcontext") is None


def reset_on_close(transport: asyncio.Transport) -> None:
    """Closing this socket sends RST."""
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)

"""A network of bytes: connections that are slow, hang, break or are refused, and partitions of either direction.

As with TCP, what cannot be delivered waits and is sent again; nobody is told of a partition. A connection ends when a
process closes it or dies, and the other side learns of it when the path lets it through.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.process_loop import ProcessLoop

KERNEL_BUFFER = 256 * 1024  # bytes that a write hands over at once although the other side does not take them
BYTES_PER_SECOND = 100e6


@dataclass
class Weather:
    """How messages travel at present, in true seconds."""

    fastest: float = 0.0002
    slowest: float = 0.001
    refuse: float = 0.0
    """Part of the connections that are declined."""


class _End:
    """What closes a stream: stands in the queue behind its bytes."""


END = _End()


class Socket(asyncio.Transport):
    """One side of a connection, with what this side has written and the other has not got yet."""

    def __init__(self, network: Network, loop: ProcessLoop, protocol: asyncio.Protocol, here: str, there: str) -> None:
        super().__init__()
        self.loop, self.here, self.there = loop, here, there
        self.other: Socket | None = None
        self._network, self._protocol = network, protocol
        self._closing = False
        self._ended = False
        self._held: deque[bytes | _End] = deque()
        self._flying = 0
        self._last = 0.0

    # ---- asyncio

    def write(self, data: Any) -> None:
        if not self._closing:
            self._send(bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._send(END)
            self.loop.call_soon(self.lost)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        waiting = sum(len(each) for each in self._held if not isinstance(each, _End))
        return max(0, waiting - KERNEL_BUFFER)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self.there, 7481) if name == "peername" else default

    # ---- the wire

    def _send(self, what: bytes | _End) -> None:
        if self._held or self._network.is_cut(self.here, self.there):
            self._held.append(what)
            return
        size = 0 if isinstance(what, _End) else len(what)
        world = self._network.world
        at = max(self._last, world.now + self._network.delay(self.here, self.there, size))
        self._last = at + 1e-9
        self._flying += 1
        world.at(at - world.now, self._arrive, what)

    def _arrive(self, what: bytes | _End) -> None:
        self._flying -= 1
        if self._held or self._network.is_cut(self.here, self.there):
            self._held.append(what)  # lost on its way; sent again when the path is back
            return
        other = self.other
        if other is None or other.loop.dead:
            return
        if isinstance(what, _End):
            other.loop.call_soon(other.ended_by_other)
        elif not other._closing:
            self._network.world.stir(what)
            other.loop.call_soon(other.received, what)

    def path_is_back(self) -> None:
        """What was held travels again."""
        if not self._held or self._flying:
            if self._held:
                self._network.world.at(0.01, self.path_is_back)
            return
        held, self._held = self._held, deque()
        for what in held:
            self._send(what)

    def received(self, data: bytes) -> None:
        """On the loop of this side."""
        if not self._closing:
            self._protocol.data_received(data)

    def ended_by_other(self) -> None:
        """On the loop of this side: the other one has closed, or its process died."""
        self._closing = True
        self.lost()

    def lost(self) -> None:
        """On the loop of this side: tell the protocol, once."""
        if not self._ended:
            self._ended = True
            self._network.forget(self)
            self._protocol.connection_lost(None)

    def process_died(self, *, silently: bool) -> None:
        """The kernel closes what a dead process had open, unless it is gone too."""
        if silently:
            self._held.clear()
        elif not self._closing:
            self._send(END)
        self._closing = self._ended = True


class Listener:
    """A bound port. It has no socket, and accepts at once."""

    sockets: tuple[()] = ()

    def __init__(self, network: Network, loop: ProcessLoop, address: str, factory: Callable[[], Any]) -> None:
        self.loop, self.address, self.factory = loop, address, factory
        self._network = network

    def close(self) -> None:
        """Nobody connects any more."""
        self._network.listeners.pop(self.address, None)

    async def wait_closed(self) -> None:
        """It is at once."""


class Network:
    """All machines' network. Addresses are `machine:port`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.weather = Weather()
        self.listeners: dict[str, Listener] = {}
        self.slow: dict[tuple[str, str], float] = {}
        """Seconds more from one machine to another."""
        self._cut: set[tuple[str, str]] = set()
        self._sockets: dict[Socket, None] = {}
        self._chance = world.chance("network")

    # ---- weather

    def is_cut(self, here: str, there: str) -> bool:
        """Nothing gets from here to there."""
        return (here, there) in self._cut

    def delay(self, here: str, there: str, size: int) -> float:
        """How long so many bytes travel now."""
        way = self._chance.uniform(self.weather.fastest, self.weather.slowest) + size / BYTES_PER_SECOND
        return way + self.slow.get((here, there), 0.0)

    def cut(self, pairs: set[tuple[str, str]]) -> None:
        """From now on nothing gets from the first of each pair to the second; every other path is whole."""
        healed, self._cut = self._cut - pairs, set(pairs)
        for socket in list(self._sockets):
            if (socket.here, socket.there) in healed:
                self.world.at(self._chance.uniform(0.01, 0.2), socket.path_is_back)

    # ---- connections

    def listen(self, loop: ProcessLoop, address: str, factory: Callable[[], Any]) -> Listener:
        """Bind a port. Raises OSError if it is taken."""
        if address in self.listeners:
            raise OSError(98, "Address already in use")
        listener = self.listeners[address] = Listener(self, loop, address, factory)
        return listener

    async def connect(self, loop: ProcessLoop, address: str, factory: Callable[[], Any]) -> tuple[Socket, Any]:
        """Connect, or hang as long as the way is cut. Raises ConnectionRefusedError."""
        here, there = loop.machine, address.rpartition(":")[0]
        await asyncio.sleep(self.delay(here, there, 0) + self.delay(there, here, 0))
        if self.is_cut(here, there) or self.is_cut(there, here):
            await loop.create_future()  # nobody answers: the attempt is given up by whoever made it
        listener = self.listeners.get(address)
        if listener is None or listener.loop.dead or self._chance.random() < self.weather.refuse:
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = factory()
        mine = Socket(self, loop, protocol, here, there)
        theirs = Socket(self, listener.loop, listener.factory, there, here)  # type: ignore[arg-type]
        mine.other, theirs.other = theirs, mine
        self._sockets[mine] = self._sockets[theirs] = None
        listener.loop.call_soon(self._accept, theirs, listener)
        protocol.connection_made(mine)
        return mine, protocol

    def _accept(self, socket: Socket, listener: Listener) -> None:
        socket._protocol = listener.factory()
        socket._protocol.connection_made(socket)

    def forget(self, socket: Socket) -> None:
        """It is closed on this side; what it had written still arrives."""
        if not socket._held:
            self._sockets.pop(socket, None)

    def process_died(self, loop: ProcessLoop, *, silently: bool) -> None:
        """Close everything that a process had open; nobody is told if its machine went with it."""
        for address, listener in list(self.listeners.items()):
            if listener.loop is loop:
                del self.listeners[address]
        for socket in [each for each in self._sockets if each.loop is loop]:
            socket.process_died(silently=silently)
            self.forget(socket)

"""Calls over HTTP/2: what is known of each while it is open, and what a fault does to one. Pure."""

from __future__ import annotations

from typing import Final

from raftchaos.proxy.delayline import DelayLine
from raftchaos.proxy.http1 import RequestHead
from raftchaos.proxy.http2 import Fields

_PREFIX: Final = 5  # of a gRPC message: whether it is compressed, and its length
_GRPC: Final = b"application/grpc"


class MessageCounter:
    """Finds the ends of the messages in one direction of a gRPC call."""

    __slots__ = ("_head", "_left", "count")

    def __init__(self) -> None:
        self._head = b""
        self._left = -1  # bytes of the present message that are still to come; -1: its prefix is
        self.count = 0
        """How many messages have come whole."""

    def ends(self, data: bytes) -> list[int]:
        """Where in this data messages end."""
        found: list[int] = []
        position = 0
        while True:
            if self._left < 0:
                taken = data[position : position + _PREFIX - len(self._head)]
                self._head += taken
                position += len(taken)
                if len(self._head) < _PREFIX:
                    break
                self._left, self._head = int.from_bytes(self._head[1:], "big"), b""
            here = min(self._left, len(data) - position)
            position += here
            self._left -= here
            if self._left:
                break
            self._left = -1
            found.append(position)
        self.count += len(found)
        return found


class Touch:
    """What a fault does to one call; made by its toxic."""

    __slots__ = ("after", "at_once", "delays", "directions", "name", "trailers")

    def __init__(self, directions: tuple[int, ...] = ()) -> None:
        self.directions = directions
        """Whose messages are counted or delayed."""
        self.at_once = False
        """The call is answered with `trailers`; the service never sees it."""
        self.after = 0
        """After so many messages from now on it is cut, with `trailers` or by resetting its stream; 0: it is not."""
        self.delays = False
        """`due` says when messages may go on."""
        self.trailers: Fields | None = None
        self.name: Fields = []
        """Fields of the response's head that name the fault."""

    @property
    def gone(self) -> bool:
        """The fault has ended."""
        return False

    def due(self, direction: int, number: int, now: float) -> float:
        """When what came now of message `number` in this direction, from 0, or of the end behind it, may go on."""
        return now

    def done(self) -> None:
        """The call was answered or cut."""


class Call:
    """One stream that the client has opened."""

    __slots__ = ("asked", "closed", "counters", "head", "heads", "lines", "number", "passed", "stream", "touch")

    def __init__(self, stream: int, number: int, fields: Fields) -> None:
        known = dict(reversed(fields))
        headers = tuple((bytes(name), bytes(value)) for name, value in fields if not name.startswith(b":"))
        method, target = known.get(b":method", b"").decode("latin-1"), bytes(known.get(b":path", b""))
        self.stream = stream
        self.number = number
        """Position of the call on its connection, from 0."""
        self.head = RequestHead(method, target, "2", headers, True, False, False, True, 0)
        is_grpc = known.get(b"content-type", b"").startswith(_GRPC)
        self.counters = (MessageCounter(), MessageCounter()) if is_grpc else None
        self.closed = [False, False]
        """By direction: its sender sends nothing more."""
        self.heads = 0
        """How many header blocks have come of the response."""
        self.asked = False
        """The toxics know of it."""
        self.touch: Touch | None = None
        self.passed = 0
        """Messages that came through since the touch began."""
        self.lines: list[DelayLine | None] = [None, None]
        """By direction: frames that wait."""

    @property
    def is_grpc(self) -> bool:
        """Whether messages are known in it."""
        return self.counters is not None

    def waits(self, direction: int) -> bool:
        """Whether frames wait in this direction, so that others must go behind them."""
        line = self.lines[direction]
        return line is not None and bool(line.chunks)

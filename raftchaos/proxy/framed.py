"""A WebSocket after its upgrade: its frames, followed, and touched by the toxics that act on them."""

from __future__ import annotations

from collections.abc import Sequence

from raftchaos.proxy.commands import Command
from raftchaos.proxy.followed import Followed
from raftchaos.proxy.frames import FramePiece, FrameReader
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.pipes import DIRECTIONS, Pipes
from raftchaos.proxy.toxic import Directed, Toxic


class Framed(Followed):
    """The frames of one connection, both ways."""

    __slots__ = ("_exchange", "_pipes", "_readers", "_released", "_toxics")

    def __init__(self, exchange: Exchange, pipes: Pipes) -> None:
        """`exchange` is the request since which this is a WebSocket."""
        self._exchange = exchange
        self._pipes = pipes
        self._readers = (FrameReader(), FrameReader())
        self._released = [0, 0]  # by direction: how much of the reader's part has been relayed already
        self._toxics: list[Toxic] = []

    def follow(self, direction: int, data: bytes) -> None:
        for _ in self._readers[direction].feed(data):
            pass
        self._released[direction] = len(self._readers[direction].part)

    def data(self, direction: int, data: bytes, now: float, out: list[Command]) -> None:
        for piece in self._readers[direction].feed(data):
            known = min(self._released[direction], len(piece.data))
            self._released[direction] -= known
            # of a frame that began before the fault the other end has seen a part
            sent: Directed = [(direction, piece.data[known:])] if known else self._touched(direction, piece)
            for way, part in sent:
                self._pipes.emit(way, None, part, now, out)
            if any(toxic.ending is not None for toxic in self._toxics):
                return
            if piece.closes and self.unfinished:
                self._toxics = [toxic for toxic in self._toxics if not toxic.gone or toxic.amid]
        if not self._toxics:
            self.release(direction, now, out)

    def _touched(self, direction: int, piece: FramePiece) -> Directed:
        up, down = self._readers
        for toxic in self._toxics:
            sent = toxic.frame(direction, piece, (up.between, down.between))
            if len(sent) != 1 or sent[0][0] != direction:
                return sent
            piece = piece._replace(data=sent[0][1])
        return [(direction, piece.data)]

    def set_toxics(self, toxics: Sequence[Toxic], now: float, out: list[Command]) -> None:
        known, wanted = self._toxics, [toxic for toxic in toxics if toxic.frames]
        self._toxics = [toxic for toxic in known if toxic.gone and toxic.amid] + wanted
        for toxic in wanted:
            if toxic not in known:
                toxic.upgraded(self._exchange)
        if not self._toxics:
            for direction in DIRECTIONS:
                self.release(direction, now, out)

    @property
    def unfinished(self) -> bool:
        # a toxic that is gone still has to drop the rest of a message
        return any(toxic.gone for toxic in self._toxics)

    def release(self, direction: int, now: float, out: list[Command]) -> None:
        part = self._readers[direction].part
        known, self._released[direction] = self._released[direction], len(part)
        self._pipes.emit(direction, None, part[known:], now, out)


def is_websocket(exchange: Exchange) -> bool:
    """Whether a request asked for a WebSocket (RFC 6455, 4.1)."""
    return any(name.lower() == b"upgrade" and value.lower() == b"websocket" for name, value in exchange.head.headers)

"""websocket: messages of WebSocket connections are dropped, delayed, damaged, or answered by closing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import Damage, draw, number, word
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Ending
from raftchaos.proxy.editing import Edit, Head
from raftchaos.proxy.frames import FramePiece, close_frame
from raftchaos.proxy.http_fault import HttpFault, HttpToxic
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Chunks, Client, Directed, Toxic, directions


class Uncompressed(Edit):
    """Asks for a connection without compression: there a message is understood only after all before it."""

    def head(self, head: Head) -> None:
        head.remove(b"Sec-WebSocket-Extensions")


class WebsocketToxic(HttpToxic["Websocket"]):
    """Touches messages of one connection."""

    __slots__ = ("_damage", "_delay", "_on", "_present")

    frames: ClassVar[bool] = True
    ends: ClassVar[bool] = True

    def __init__(self, fault: Websocket, position: int, client: Client) -> None:
        super().__init__(fault, position, client)
        self._on = False  # the connection is a WebSocket that matches
        self._present = [-1, -1]  # by direction: the message that is touched now
        self._delay = [0.0, 0.0]
        self._damage: list[Damage | None] = [None, None]

    def not_http(self, kind: str) -> None:
        if kind != "skipped_websock":
            super().not_http(kind)

    def edit(self, direction: int, exchange: Exchange, now: float) -> Edit | None:
        wanted = direction == UPSTREAM and exchange.head.upgrade and self.fault.match.request(exchange.head)
        return Uncompressed() if wanted else None

    def upgraded(self, exchange: Exchange) -> None:
        fault = self.fault
        self._on = fault.match.request(exchange.head)
        if self._on and fault.sample is not None:
            self._on = fault.sample.has(self.client.address, self._position, exchange.head)
            if not self._on:
                fault.effect.add("control")

    @property
    def amid(self) -> bool:
        return self.fault.action == "drop" and max(self._present) >= 0

    def frame(self, direction: int, piece: FramePiece, between: tuple[bool, bool]) -> Directed:
        fault = self.fault
        if piece.message < 0 or not self._on or direction not in fault.directions:
            return [(direction, piece.data)]
        if piece.opens and not self.gone:
            self._open(direction, piece)
        if self._present[direction] != piece.message:
            return [(direction, piece.data)]
        if piece.closes:
            self._present[direction] = -1
        if fault.action == "drop":
            return []
        if fault.action == "close":
            return self._close(direction, between)
        return [(direction, self._changed(direction, piece))]

    def _open(self, direction: int, piece: FramePiece) -> None:
        """A message begins: is it touched?"""
        fault = self.fault
        self._present[direction] = -1
        self._delay[direction] = 0.0
        if not fault.hits(self._position, direction, piece.message):
            fault.passed()
            return
        if fault.action == "drop" and piece.compressed:
            fault.effect.add("skipped_deflate")
            return
        fault.effect.touch("messages")
        self._present[direction] = piece.message
        self._delay[direction] = fault.delay
        if fault.action == "corrupt":
            place = (self._position, direction, piece.message)
            self._damage[direction] = damage = Damage(fault.rate, "bitFlips", fault.seed, *place)
            damage.first()

    def _changed(self, direction: int, piece: FramePiece) -> bytes:
        damage = self._damage[direction]
        if damage is None:
            return piece.data
        payload, count = damage.apply(piece.data[piece.head :])
        self.fault.effect.add("bytes", count)
        return piece.data[: piece.head] + payload

    def _close(self, direction: int, between: tuple[bool, bool]) -> Directed:
        """Close frames for both ends, where no frame is half-way; then the connection ends."""
        self.ending = Ending.CLOSE
        code = self.fault.code
        mask = int(draw(self.fault.seed, self._position, "mask") * (1 << 32)).to_bytes(4, "big")
        frames = [(UPSTREAM, close_frame(code, mask)), (DOWNSTREAM, close_frame(code))]
        return [(way, frame) for way, frame in frames if way == direction or between[way]]

    def shapes(self, direction: int) -> bool:
        return self.fault.action == "delay" and direction in self.fault.directions

    def shape(self, direction: int, exchange: Exchange | None, at: float, data: bytes) -> Chunks:
        return [(at + self._delay[direction], data)]


class Websocket(HttpFault):
    """`action` with `closeCode`, `delayMs` or `rate`; `direction`; `probability` is the part of the messages."""

    type: ClassVar[str] = "websocket"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.action = word(parameters, "action", "drop", "close", "delay", "corrupt")
        self.code = int(number(parameters, "closeCode", 1011, 1000, 4999))
        self.delay = number(parameters, "delayMs", 1000.0, 0, limits.FAULT_DELAY_MS) / 1000
        self.rate = number(parameters, "rate", 0.01, 0.0, limits.DAMAGE)
        self.directions = directions(parameters)

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        return WebsocketToxic(self, position, client)

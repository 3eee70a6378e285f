"""The HTTP/1.1 messages of one connection, followed while its bytes are relayed as they come.

Requests and responses are paired, so that a fault that begins knows where it is. What is not HTTP (any more) is known
by its kind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from raftchaos import limits
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM
from raftchaos.proxy.followed import Followed
from raftchaos.proxy.framed import Framed, is_websocket
from raftchaos.proxy.http1 import EndlessBody, LengthBody
from raftchaos.proxy.http2 import PREFACE, speaks_http2
from raftchaos.proxy.messages import HEAD, RAW, Exchange, Piece, RequestReader, ResponseReader
from raftchaos.proxy.multiplexed import Http2
from raftchaos.proxy.pipes import Pipes
from raftchaos.proxy.stats import Stats

_TLS = b"\x16\x03"  # a handshake record of any version
_HTTP2 = b"PRI * HTTP/2"
_ENDLESS = 1 << 62


class Tracker:
    """Follows requests and responses of one connection."""

    __slots__ = (
        "_changed",
        "_ended",
        "_exchanges",
        "_followed",
        "_pipes",
        "_released",
        "_requests",
        "_responses",
        "_stats",
        "kind",
        "leaving",
        "owed",
    )

    def __init__(self, stats: Stats, pipes: Pipes, changed: Callable[[], None]) -> None:
        """`changed` is called when following has come to something that needs more care."""
        self._stats = stats
        self._ended = stats.cells.ended  # the last byte of a response has gone to the client
        self._pipes = pipes
        self._changed = changed
        self._exchanges: deque[Exchange] = deque()  # requests whose response has not ended, oldest first
        self._requests = RequestReader()
        self._responses = ResponseReader(self._exchanges)
        self._released = [0, 0]  # by direction: how much of the reader's part has been relayed already
        self._followed: Followed | None = None  # a WebSocket after its upgrade, or HTTP/2
        self.kind = ""
        """Empty while this is HTTP; then the name of the count that says what it is."""
        self.leaving: deque[Exchange] = deque()
        """Exchanges whose response has ended, of which something may still wait for its way to the client."""
        self.owed = 0
        """How many answers of faults are still to be given."""

    def track(self, direction: int, data: bytes, now: float) -> bool:
        """Follow data that is relayed as it is; always True."""
        if self.kind:
            if self._followed is not None:
                self._follow(direction, data)
            return True
        if direction == UPSTREAM:
            exchange = self._requests.single(data)
            if exchange is not None:
                self._begin(exchange, now)
            else:
                self._track_requests(data, now)
        elif self._responses.single(data):
            if self._responses.body is None:
                exchange = self._exchanges.popleft()
                self._ended(exchange.head, exchange.status, now - exchange.began)
        else:
            self._track_responses(data, now)
        return True

    def _begin(self, exchange: Exchange, now: float) -> None:
        self._stats.requests += 1
        exchange.began = now
        self._exchanges.append(exchange)
        if len(self._exchanges) >= limits.PROXY_PIPELINE:
            self._changed()  # so that the next event pauses the client

    def _track_requests(self, data: bytes, now: float) -> None:
        for piece in self._requests.feed(data):
            if piece.kind == HEAD and piece.exchange is not None:
                self._begin(piece.exchange, now)
            elif piece.kind == RAW:
                self._go_raw(UPSTREAM, piece.data)
                self._follow(UPSTREAM, piece.data)
        self._released[UPSTREAM] = len(self._requests.part)
        self._changed()

    def _track_responses(self, data: bytes, now: float) -> None:
        for piece in self._responses.feed(data):
            if self._followed is not None:
                self._follow(DOWNSTREAM, piece.data)
            elif piece.end:
                exchange = self._exchanges.popleft()
                self._ended(exchange.head, exchange.status, now - exchange.began)
            if self._responses.switched and not self.kind:
                self._follow(UPSTREAM, self._switch(piece))
            elif self._responses.broken and not self.kind:
                sent = self._go_raw(DOWNSTREAM, piece.data)
                self._follow(UPSTREAM, sent)
                self._follow(DOWNSTREAM, piece.data)
        self._released[DOWNSTREAM] = len(self._responses.part)
        self._changed()

    def untouched(self, direction: int) -> int:
        """How many bytes may pass unseen: of a body all but the last, which ends the message."""
        if self.kind:
            return 0 if self._followed is not None else _ENDLESS
        body = (self._requests if direction == UPSTREAM else self._responses).body
        if isinstance(body, EndlessBody):
            return _ENDLESS
        return body.remaining - 1 if isinstance(body, LengthBody) else 0

    def passed(self, direction: int, count: int) -> None:
        """So many bytes have passed unseen."""
        body = (self._requests if direction == UPSTREAM else self._responses).body
        if isinstance(body, LengthBody):
            body.remaining -= count

    def quiet(self) -> bool:
        """Whether nothing is held and nothing is to be answered, so that following will do."""
        exchanges = self._exchanges
        if self._followed is not None and self._followed.unfinished:
            return False
        return not self._requests.waiting and (
            not exchanges
            or (
                len(exchanges) < limits.PROXY_PIPELINE
                and not self.owed
                and not any(exchange.edited for exchange in exchanges)
            )
        )

    def crowded(self, direction: int) -> bool:
        """Whether nothing more should be read from the source of this direction."""
        if self._followed is not None:
            return self._followed.full(direction)
        return direction == UPSTREAM and (self._requests.waiting or len(self._exchanges) >= limits.PROXY_PIPELINE)

    # ---- not HTTP

    def _follow(self, direction: int, data: bytes) -> None:
        """Data of another protocol that is relayed as it is."""
        if self._followed is not None and data:
            self._followed.follow(direction, data)
            self._give_up()

    def _give_up(self) -> None:
        """What turned out not to be the other protocol is plain bytes from here on."""
        if self._followed is not None and self._followed.broken:
            self._followed = None

    def _switch(self, piece: Piece) -> bytes:
        """The connection speaks another protocol; what the client has sent of it so far."""
        part = self._go_raw(DOWNSTREAM, b"")
        if piece.exchange is not None and is_websocket(piece.exchange):
            self.kind = "skipped_websock"
            self._followed = Framed(piece.exchange, self._pipes)
        return part

    def _go_raw(self, direction: int, data: bytes) -> bytes:
        """From here on nothing is known of messages. `data` is what came first that is none; what the client has sent
        before, if it was the service that spoke.
        """
        part, first = self._requests.part, self._requests.count == 0
        if first and direction == UPSTREAM and data.startswith(_TLS):
            self.kind = "skipped_tls"
        elif first and (
            data.startswith(_HTTP2)
            if direction == UPSTREAM
            else speaks_http2(data) and PREFACE.startswith(part)  # its SETTINGS may come before the client has spoken
        ):
            self.kind = "skipped_http2"
            self._followed = Http2(self._pipes)
        else:
            self.kind = "skipped_not_http"
        self._requests.broken = self._responses.broken = True
        self._requests.waiting = False
        self._requests.part = self._responses.part = b""
        self._released = [0, 0]
        self._exchanges.clear()
        self._stats.cells.connection(self.kind)
        self.owed = 0
        return part

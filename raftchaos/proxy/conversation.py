"""The HTTP/1.1 messages of one connection: followed, answered in place of the service, changed on their way.

What is not HTTP (any more) passes as bytes. Heads that are incomplete are held only while a toxic wants to see them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from raftchaos import limits
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Command, Ending
from raftchaos.proxy.delayline import NEVER
from raftchaos.proxy.editing import EditedMessage
from raftchaos.proxy.http1 import request_body, response_body
from raftchaos.proxy.messages import HEAD, RAW, Exchange, Piece, RequestReader, ResponseReader
from raftchaos.proxy.pipes import Pipes
from raftchaos.proxy.stats import Stats
from raftchaos.proxy.toxic import Toxic

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TLS = b"\x16\x03"  # a handshake record of any version
_HTTP2 = b"PRI * HTTP/2"


class Conversation:
    """Requests and responses of one connection, paired."""

    __slots__ = (
        "_changed",
        "_client_over",
        "_exchanges",
        "_pipes",
        "_released",
        "_requests",
        "_responders",
        "_responses",
        "_stats",
        "closing",
        "ending",
        "kind",
        "owed",
        "service_over",
        "toxics",
    )

    def __init__(self, stats: Stats, pipes: Pipes, changed: Callable[[], None]) -> None:
        """`changed` is called when following has come to something that needs more care."""
        self._stats = stats
        self._pipes = pipes
        self._changed = changed
        self._exchanges: deque[Exchange] = deque()  # requests whose response has not ended, oldest first
        self._requests = RequestReader()
        self._responses = ResponseReader(self._exchanges)
        self._released = [0, 0]  # by direction: how much of the reader's part has been relayed already
        self._responders: list[Toxic] = []
        self._client_over = False  # the client has ended its direction while requests of it still wait
        self.toxics: list[Toxic] = []
        """Those that act on requests."""
        self.kind = ""
        """Empty while this is HTTP; then the name of the count that says what it is."""
        self.closing = False
        """The last answer was given; what the client sends now goes nowhere."""
        self.owed = 0
        """How many answers of faults are still to be given."""
        self.service_over: Ending | None = None
        """The service has ended the connection while answers of faults are still to come; then it ends so."""
        self.ending: Ending | None = None
        """A message, or what is no message, ends the connection so."""

    # ---- without faults

    def track(self, direction: int, data: bytes) -> bool:
        """Follow data that is relayed as it is; always True."""
        if self.kind:
            return True
        if direction == UPSTREAM:
            exchange = self._requests.single(data)
            if exchange is not None:
                self._begin(exchange)
            else:
                self._track_requests(data)
        elif self._responses.single(data):
            if self._responses.body is None:
                self._exchanges.popleft()
        else:
            self._track_responses(data)
        return True

    def _begin(self, exchange: Exchange) -> None:
        self._stats.requests += 1
        self._exchanges.append(exchange)
        if len(self._exchanges) >= limits.PROXY_PIPELINE:
            self._changed()  # so that the next event pauses the client

    def _track_requests(self, data: bytes) -> None:
        for piece in self._requests.feed(data):
            if piece.kind == HEAD and piece.exchange is not None:
                self._begin(piece.exchange)
            elif piece.kind == RAW:
                self._go_raw(piece.data)
        self._released[UPSTREAM] = len(self._requests.part)
        self._changed()

    def _track_responses(self, data: bytes) -> None:
        for piece in self._responses.feed(data):
            if piece.end:
                self._exchanges.popleft()
            if self._responses.broken or self._responses.switched:
                self._go_raw(b"")
        self._released[DOWNSTREAM] = len(self._responses.part)
        self._changed()

    def quiet(self) -> bool:
        """Whether nothing is held and nothing is to be answered, so that following will do."""
        exchanges = self._exchanges
        return not self._requests.waiting and (
            not exchanges
            or (
                len(exchanges) < limits.PROXY_PIPELINE
                and not self.owed
                and not any(exchange.edited for exchange in exchanges)
            )
        )

    @property
    def crowded(self) -> bool:
        """Whether nothing more should be read from the client."""
        return self._requests.waiting or len(self._exchanges) >= limits.PROXY_PIPELINE

    # ---- toxics

    def set_toxics(self, toxics: Sequence[Toxic], now: float, out: list[Command]) -> None:
        """These act on messages from now on. What is held for one that is gone goes on; its answers are given."""
        self.toxics = [toxic for toxic in toxics if toxic.http]
        self._responders = [toxic for toxic in toxics if toxic.responds]
        for exchange in self._exchanges:
            if isinstance(exchange.answered_by, Toxic) and exchange.answered_by.gone:
                exchange.answer_at = 0.0
        self.settle(now, out)
        self._release_unwatched(now, out)

    def _release_unwatched(self, now: float, out: list[Command]) -> None:
        if not self.toxics and not self._requests.waiting:
            self._release(UPSTREAM, now, out)
        if not self._responders:
            self._release(DOWNSTREAM, now, out)

    def _release(self, direction: int, now: float, out: list[Command]) -> None:
        """Relay what is held of an incomplete head."""
        part, exchange = self._requests.part, None
        if direction == DOWNSTREAM:
            part, exchange = self._responses.part, self._exchanges[0] if self._exchanges else None
        known, self._released[direction] = self._released[direction], len(part)
        self._pipes.emit(direction, exchange, part[known:], now, out)

    # ---- from the client

    def from_client(self, data: bytes, now: float, out: list[Command]) -> None:
        """Data from the client."""
        if self.closing:
            return
        if self.kind:
            self._pipes.emit(UPSTREAM, None, data, now, out)
            return
        single = self._requests.single(data)
        if single is not None:
            self._request_piece(Piece(HEAD, single, data, True), now, out)
            return
        for piece in self._requests.feed(data):
            self._request_piece(piece, now, out)
            if self.ending is not None or self.closing:
                return
        self._release_unwatched(now, out)

    def client_ended(self, now: float, out: list[Command]) -> bool:
        """The client sends nothing more: what is held of a head is all that there is. False: requests that it has sent
        still wait for the answer of a fault; then this ends the direction after them.
        """
        if self.owed and self._requests.waiting:
            self._client_over = True
            return False
        if not self.kind:
            self._release(UPSTREAM, now, out)
        return True

    def _request_piece(self, piece: Piece, now: float, out: list[Command]) -> None:
        exchange, data = piece.exchange, piece.data
        known = min(self._released[UPSTREAM], len(data))
        self._released[UPSTREAM] -= known
        if piece.kind == RAW:
            self._leave_http(data, now, out)
        elif piece.kind == HEAD and exchange is not None:
            self._begin(exchange)
            if not known:  # of a request that began before the fault the service has seen a part
                self._intercept(exchange, now)
                if exchange.answer is None:
                    data = self._edited_head(UPSTREAM, exchange, data, now)
        elif exchange is not None and exchange.edited is not None and (edited := exchange.edited[UPSTREAM]) is not None:
            data = edited.feed(data, piece.end)
        if self.ending is not None:
            return
        if exchange is None or exchange.answer is None:
            self._pipes.emit(UPSTREAM, exchange, data[known:] if known else data, now, out)
        else:
            self.settle(now, out)

    def _intercept(self, exchange: Exchange, now: float) -> None:
        for toxic in self.toxics:
            answer = toxic.request(exchange, now)
            if answer is not None:
                exchange.answer, exchange.answer_at = answer
                exchange.answered_by = toxic
                self.owed += 1
                self._requests.waiting = exchange.complete and exchange.answer_at > 0
                return

    def _edited_head(self, direction: int, exchange: Exchange, head: bytes, now: float) -> bytes:
        """What goes on of a complete head, once the toxics have looked at it."""
        toxics = self.toxics if direction == UPSTREAM else self._responders
        edits = [edit for toxic in toxics if (edit := toxic.edit(direction, exchange, now)) is not None]
        if not edits:
            return head
        if direction == UPSTREAM:
            body = request_body(exchange.head)
        else:
            assert exchange.response is not None
            body = response_body(exchange.response, exchange.head.method)
        edited = EditedMessage(edits, body)
        if exchange.edited is None:
            exchange.edited = [None, None]
        exchange.edited[direction] = edited
        data = edited.start(head)
        self.ending = edited.ending
        return data

    # ---- answers

    def settle(self, now: float, out: list[Command]) -> None:
        """Give the answers whose turn it is: those of faults wait for the responses to earlier requests."""
        exchanges, pipes = self._exchanges, self._pipes
        while exchanges and exchanges[0].answer is not None and not self.closing:
            exchange = exchanges[0]
            if pipes.ended[DOWNSTREAM]:
                return
            if not exchange.complete:
                if exchange.head.expect_continue and not exchange.continued:
                    exchange.continued = True
                    pipes.emit(DOWNSTREAM, exchange, _CONTINUE, now, out)
                return
            if exchange.answer_at > now:
                return
            exchanges.popleft()
            self.owed -= 1
            pipes.emit(DOWNSTREAM, exchange, exchange.answer or b"", now, out)
            if exchange.answered_by is not None:
                exchange.answered_by.answered()
            if not exchange.head.keep_alive:
                pipes.ended[DOWNSTREAM] = True
                self.closing = True
        if self.service_over is not None and not self._answering():
            self.ending = self.service_over
        elif self._requests.waiting and not exchanges:
            self._go_on(now, out)

    def _answering(self) -> bool:
        """Whether the next thing that the client gets is the answer of a fault."""
        return bool(self._exchanges) and self._exchanges[0].answer is not None and not self.closing

    def next(self) -> float:
        """When an answer is due that waits for its instant."""
        exchanges = self._exchanges
        if not self._answering() or not exchanges[0].complete or self._pipes.ended[DOWNSTREAM]:
            return NEVER
        return exchanges[0].answer_at

    def service_ended(self, ending: Ending, now: float, out: list[Command]) -> bool:
        """The service has ended the connection. True: answers of faults come first, and then it ends."""
        if not self.kind:
            self._release(DOWNSTREAM, now, out)
            if self._exchanges and self._exchanges[0].edited is not None:
                edited = self._exchanges[0].edited[DOWNSTREAM]
                held = b"" if edited is None else edited.release()
                self._pipes.emit(DOWNSTREAM, self._exchanges[0], held, now, out)
        if self._answering():
            self.service_over = ending
            return True
        return False

    # ---- from the service

    def from_service(self, data: bytes, now: float, out: list[Command]) -> None:
        """Data from the service."""
        if self.kind:
            self._pipes.emit(DOWNSTREAM, None, data, now, out)
            return
        exchanges = self._exchanges
        if exchanges and not self._responders and exchanges[0].answer is None and exchanges[0].edited is None:
            exchange = exchanges[0]
            if self._responses.single(data):
                self._pipes.emit(DOWNSTREAM, exchange, data, now, out)
                if self._responses.body is None:
                    self._response_ended(now, out)
                return
        for piece in self._responses.feed(data):
            self._response_piece(piece, now, out)
            if self.ending is not None:
                return
        self._release_unwatched(now, out)

    def _response_piece(self, piece: Piece, now: float, out: list[Command]) -> None:
        exchange, data = piece.exchange, piece.data
        known = min(self._released[DOWNSTREAM], len(data))
        self._released[DOWNSTREAM] -= known
        if exchange is not None:
            edited = None if exchange.edited is None else exchange.edited[DOWNSTREAM]
            if piece.kind == HEAD and not known and self._responders:
                data = self._edited_head(DOWNSTREAM, exchange, data, now)
            elif edited is not None:
                data = edited.feed(data, piece.end)
                self.ending = edited.ending
        self._pipes.emit(DOWNSTREAM, exchange, data[known:] if known else data, now, out)
        if self.ending is not None:
            return
        if piece.end:
            self._exchanges.popleft()
        if self._responses.switched:
            self._release(UPSTREAM, now, out)
            self._go_raw(b"")
        elif self._responses.broken:
            self._leave_http(b"", now, out)
        elif piece.end:
            self._response_ended(now, out, taken=True)

    def _response_ended(self, now: float, out: list[Command], *, taken: bool = False) -> None:
        if not taken:
            self._exchanges.popleft()
        if self.owed:
            self.settle(now, out)
        if self._requests.waiting:
            self._go_on(now, out)

    def _go_on(self, now: float, out: list[Command]) -> None:
        """A request was answered that others waited for: if it asked for another protocol, it got none."""
        if self._exchanges or self.closing:
            return
        self._requests.waiting = False
        self.from_client(b"", now, out)
        if self._client_over and not self._requests.waiting:
            self._release(UPSTREAM, now, out)
            self._pipes.ended[UPSTREAM] = True

    # ---- not HTTP

    def _leave_http(self, data: bytes, now: float, out: list[Command]) -> None:
        """The stream turned out not to be HTTP while a fault looked at it."""
        if self.kind:
            return
        if self.owed or any(exchange.edited for exchange in self._exchanges):
            self.ending = Ending.RESET  # a request was taken that can no longer be answered in its place
            return
        self._release(UPSTREAM, now, out)
        self._release(DOWNSTREAM, now, out)
        self._go_raw(data)
        for toxic in {*self.toxics, *self._responders}:
            toxic.not_http(self.kind)

    def _go_raw(self, data: bytes) -> None:
        """From here on nothing is known of messages; bytes are relayed. `data`: what the client sent first of them."""
        first = self._requests.count == 0
        if first and data.startswith(_TLS):
            self.kind = "skipped_tls"
        elif first and data.startswith(_HTTP2):
            self.kind = "skipped_http2"
        else:
            self.kind = "skipped_not_http"
        self._requests.broken = self._responses.broken = True
        self._requests.waiting = False
        self._requests.part = self._responses.part = b""
        self._released = [0, 0]
        self._exchanges.clear()
        self.owed = 0

    def drop(self) -> None:
        """The connection is over."""
        self._changed = _nothing
        self._exchanges.clear()
        self.owed = 0
        self.toxics = []
        self._responders = []


def _nothing() -> None:
    pass

"""The HTTP/1.1 messages of one connection under faults: answered in place of the service, changed on their way.

Heads that are incomplete are held only while a toxic wants to see them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Command, Ending
from raftchaos.proxy.delayline import NEVER
from raftchaos.proxy.editing import EditedMessage
from raftchaos.proxy.http1 import EndlessBody, request_body, response_body
from raftchaos.proxy.messages import HEAD, RAW, Exchange, Piece
from raftchaos.proxy.pipes import Pipes
from raftchaos.proxy.stats import Stats
from raftchaos.proxy.toxic import Toxic
from raftchaos.proxy.tracking import Tracker

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Conversation(Tracker):
    """Requests and responses of one connection under faults."""

    __slots__ = ("_client_over", "_responders", "_watching", "closing", "ending", "service_over", "toxics")

    def __init__(self, stats: Stats, pipes: Pipes, changed: Callable[[], None]) -> None:
        super().__init__(stats, pipes, changed)
        self._responders: list[Toxic] = []
        self._watching: Sequence[Toxic] = ()  # all of this connection
        self._client_over = False  # the client has ended its direction while requests of it still wait
        self.toxics: list[Toxic] = []
        """Those that act on requests."""
        self.closing = False
        """The last answer was given; what the client sends now goes nowhere."""
        self.service_over: Ending | None = None
        """The service has ended the connection while answers of faults are still to come; then it ends so."""
        self.ending: Ending | None = None
        """A message, or what is no message, ends the connection so."""

    # ---- toxics

    def set_toxics(self, toxics: Sequence[Toxic], now: float, out: list[Command]) -> None:
        """These act on messages from now on. What is held for one that is gone goes on; its answers are given."""
        self.toxics = [toxic for toxic in toxics if toxic.http]
        self._responders = [toxic for toxic in toxics if toxic.responds]
        self._watching = toxics
        if self._followed is not None:
            self._followed.set_toxics(toxics, now, out)
            self.owed = self._followed.held
            return
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
        if self._followed is not None:
            self._followed.release(direction, now, out)
            return
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
            self._raw(UPSTREAM, data, now, out)
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
        self._release(UPSTREAM, now, out)
        return True

    def _request_piece(self, piece: Piece, now: float, out: list[Command]) -> None:
        exchange, data = piece.exchange, piece.data
        known = min(self._released[UPSTREAM], len(data))
        self._released[UPSTREAM] -= known
        if piece.kind == RAW:
            self._leave_http(UPSTREAM, data, known, now, out)
            return
        if piece.kind == HEAD and exchange is not None:
            self._begin(exchange, now)
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
        if direction == DOWNSTREAM and data[9:12].isdigit():
            exchange.status = int(data[9:12])
        self.ending = edited.ending
        return data

    # ---- answers

    def settle(self, now: float, out: list[Command]) -> None:
        """Give the answers whose turn it is: those of faults wait for the responses to earlier requests."""
        if self._followed is not None:
            self._followed.settle(now, out)
            self.owed = self._followed.held
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
            answer = exchange.answer or b""
            pipes.emit(DOWNSTREAM, exchange, answer, now, out)
            exchange.status = int(answer[9:12] or 0)
            self.leaving.append(exchange)
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
        """Whether the next thing that the client gets is the answer of a fault, or was held back by one."""
        if self._followed is not None:
            return self.owed > 0
        return bool(self._exchanges) and self._exchanges[0].answer is not None and not self.closing

    def next(self) -> float:
        """When an answer is due that waits for its instant."""
        if self._followed is not None:
            return self._followed.next()
        exchanges = self._exchanges
        if not self._answering() or not exchanges[0].complete or self._pipes.ended[DOWNSTREAM]:
            return NEVER
        return exchanges[0].answer_at

    def service_ended(self, ending: Ending, now: float, out: list[Command]) -> bool:
        """The service has ended the connection. True: answers of faults come first, and then it ends."""
        self._release(DOWNSTREAM, now, out)
        if self._exchanges and self._exchanges[0].edited is not None:
            edited = self._exchanges[0].edited[DOWNSTREAM]
            held = b"" if edited is None else edited.release()
            self._pipes.emit(DOWNSTREAM, self._exchanges[0], held, now, out)
        if self._answering():
            self.service_over = ending
            return True
        if ending is Ending.CLOSE and self._exchanges and isinstance(self._responses.body, EndlessBody):
            self.leaving.append(self._exchanges.popleft())
        return False

    # ---- from the service

    def from_service(self, data: bytes, now: float, out: list[Command]) -> None:
        """Data from the service."""
        if self.kind:
            self._raw(DOWNSTREAM, data, now, out)
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
        if self.kind:
            self._raw(DOWNSTREAM, data, now, out)
            return
        known = min(self._released[DOWNSTREAM], len(data))
        self._released[DOWNSTREAM] -= known
        if piece.kind == RAW:
            self._leave_http(DOWNSTREAM, data, known, now, out)
            return
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
            self.leaving.append(self._exchanges.popleft())
        if self._responses.switched:
            self._upgrade(piece, now, out)
        elif piece.end:
            self._response_ended(now, out, taken=True)

    def _response_ended(self, now: float, out: list[Command], *, taken: bool = False) -> None:
        if not taken:
            self.leaving.append(self._exchanges.popleft())
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

    def _raw(self, direction: int, data: bytes, now: float, out: list[Command], known: int = 0) -> None:
        """Data of another protocol, of which so many bytes have been relayed already."""
        self._follow(direction, data[:known])
        followed = self._followed
        if followed is None:
            self._pipes.emit(direction, None, data[known:], now, out)
            return
        followed.data(direction, data[known:], now, out)
        self.owed = followed.held
        if followed.broken:
            self.ending = Ending.RESET if followed.lost else self.ending
            self._give_up()
            for toxic in self._watching:
                if toxic.calls:
                    toxic.not_http("skipped_not_http")

    def _upgrade(self, piece: Piece, now: float, out: list[Command]) -> None:
        """The response has switched to another protocol: what the client has sent of it goes on."""
        known = self._released[UPSTREAM]
        part = self._switch(piece)
        self._watch(now, out)
        self._raw(UPSTREAM, part, now, out, known)

    def _watch(self, now: float, out: list[Command]) -> None:
        if self._followed is not None:
            self._followed.set_toxics(self._watching, now, out)

    def _leave_http(self, direction: int, data: bytes, known: int, now: float, out: list[Command]) -> None:
        """The stream turned out not to be HTTP/1.1 while a fault looked at it, with this data."""
        if self.owed or any(exchange.edited for exchange in self._exchanges):
            self.ending = Ending.RESET  # a request was taken that can no longer be answered in its place
            return
        self._release(UPSTREAM, now, out)
        self._release(DOWNSTREAM, now, out)
        part = self._go_raw(direction, data)
        for toxic in self._watching:
            toxic.not_http(self.kind)
        self._watch(now, out)
        if direction == DOWNSTREAM:
            self._follow(UPSTREAM, part)
        self._raw(direction, data, now, out, known)

    def let_go(self, now: float) -> None:
        """Count the exchanges of which nothing waits any more for its way to the client."""
        waits = self._pipes.oldest(DOWNSTREAM)
        while self.leaving and (waits is None or waits.number > self.leaving[0].number):
            exchange = self.leaving.popleft()
            self._ended(exchange.head, exchange.status, now - exchange.began)

    def drop(self) -> None:
        """The connection is over; what was not answered whole never will be."""
        for exchange in (*self.leaving, *self._exchanges):
            self._ended(exchange.head, 0, 0.0)
        self.leaving.clear()
        self._changed = _nothing
        if self._followed is not None:
            self._followed.drop()
            self._followed = None
        self._exchanges.clear()
        self.owed = 0
        self.toxics = []
        self._responders = []
        self._watching = ()


def _nothing() -> None:
    pass

"""The protocol part of one connection: events in, commands out; no socket, no clock.

As long as no fault is on, bytes are relayed as they come and the messages in them are only followed (`track`), so that
a fault that begins in the middle of a kept-alive connection knows where the next request starts and which responses
are still to come. With a fault, `receive` decides about each request and each piece of data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from raftchaos import limits
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Close, Command, Connect, Reset, Wake
from raftchaos.proxy.delayline import NEVER, Budget
from raftchaos.proxy.messages import HEAD, RAW, Exchange, Piece, RequestReader, ResponseReader
from raftchaos.proxy.pipes import Pipes
from raftchaos.proxy.toxic import Fault, Toxic

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Stats:
    """Counters of one proxy since its process started; `active` is how many connections are open."""

    __slots__ = ("active", "bytes_down", "bytes_up", "connections", "refused", "requests", "upstream_errors")

    def __init__(self) -> None:
        self.connections = 0
        self.active = 0
        self.refused = 0
        self.requests = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.upstream_errors = 0

    def report(self) -> dict[str, int]:
        """All counters by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class Engine:
    """One connection through a proxy. After a Close or Reset it says nothing more."""

    __slots__ = (
        "_attached",
        "_closing",
        "_exchanges",
        "_http",
        "_linger_until",
        "_pipes",
        "_raw",
        "_requests",
        "_responses",
        "_sent_ahead",
        "_stats",
        "_toxics",
        "_wake",
        "ended",
        "passive",
    )

    def __init__(self, stats: Stats, budget: Budget) -> None:
        self._stats = stats
        self._pipes = Pipes(budget)
        self._exchanges: deque[Exchange] = deque()  # requests whose response has not ended, oldest first
        self._requests = RequestReader()
        self._responses = ResponseReader(self._exchanges)
        self._raw = False  # not HTTP, or no longer
        self._sent_ahead = 0  # how much of what the request reader keeps has been relayed already
        self._toxics: dict[Fault, Toxic | None] = {}
        self._attached: list[Toxic] = []  # those of them that touch this connection
        self._http: list[Toxic] = []
        self._closing = False  # the last answer was given; what the client sends now goes nowhere
        self._linger_until = NEVER  # while closing: until when the client may close first
        self._wake = NEVER  # the instant of the last Wake
        self.ended = False
        self.passive = True
        """Bytes are relayed as they come: `track` may be used in place of `receive`."""

    # ---- events

    def open(self, faults: Iterable[Fault], now: float) -> list[Command]:
        """A client has connected to a proxy on which these faults are on."""
        out: list[Command] = []
        self._attach(faults, now)
        self._settle(now, out)
        if not self.ended:
            out.insert(0, Connect())
        return out

    def track(self, direction: int, data: bytes) -> bool:
        """Data while `passive`. True: relay it as it is; False: nothing happened, call `receive`."""
        if self._raw:
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

    def receive(self, direction: int, data: bytes, now: float) -> list[Command]:
        """Data from the source of `direction`."""
        out: list[Command] = []
        if self.ended:
            return out
        if self._raw:
            self._pipes.emit(direction, None, data, now, out)
        elif direction == UPSTREAM:
            self._from_client(data, now, out)
        else:
            self._from_service(data, now, out)
        self._settle(now, out)
        return out

    def eof(self, direction: int, now: float) -> list[Command]:
        """The source of `direction` sends nothing more."""
        out: list[Command] = []
        if self.ended:
            return out
        if direction == UPSTREAM:
            self._release_part(now, out)
        self._pipes.ended[direction] = True
        self._settle(now, out)
        return out

    def failed(self, direction: int, now: float) -> list[Command]:
        """The source of `direction` has broken its connection. A client that did so waits for nothing any more."""
        out: list[Command] = []
        if self.ended:
            return out
        if direction == UPSTREAM:
            self._finish(Reset(), out)
            return out
        self._pipes.broken = True
        self._pipes.ended = [True, True]
        self._settle(now, out)
        return out

    def wake(self, now: float) -> list[Command]:
        """The instant of the last Wake has come. Too early or too often does no harm."""
        out: list[Command] = []
        self._wake = NEVER
        if not self.ended:
            self._settle(now, out)
        return out

    def set_faults(self, faults: Iterable[Fault], now: float) -> list[Command]:
        """The faults on this proxy are these now. If one goes that held data back, all that waits is sent at once."""
        out: list[Command] = []
        if self.ended:
            return out
        before = self._pipes.shapers
        self._attach(faults, now)
        if any(toxic not in self._pipes.shapers for toxic in before):
            self._pipes.release(out)
        if not self._http and not self._requests.waiting:
            self._release_part(now, out)
        self._settle(now, out)
        return out

    def drop(self) -> None:
        """Both sockets are gone, without a command of this engine."""
        if not self.ended:
            self._finish(Reset(), [])

    @property
    def answers(self) -> bool:
        """Requests may be answered here, so that a client that sends but does not read must be held back."""
        return bool(self._http)

    # ---- faults

    def _attach(self, faults: Iterable[Fault], now: float) -> None:
        known = self._toxics
        self._toxics = {fault: known[fault] if fault in known else self._new_toxic(fault, now) for fault in faults}
        self._attached = toxics = [toxic for toxic in self._toxics.values() if toxic is not None]
        self._http = [toxic for toxic in toxics if toxic.http]
        self._pipes.shapers = [toxic for toxic in toxics if toxic.shapes]

    def _new_toxic(self, fault: Fault, now: float) -> Toxic | None:
        toxic = fault.attach(now)
        if toxic is not None and self._raw:
            toxic.not_http()
        return toxic

    def _settle(self, now: float, out: list[Command]) -> None:
        """What follows from every event: timers, data that is due, ends, pauses."""
        if self.ended:
            return
        for toxic in self._attached:
            if toxic.wake_at <= now and toxic.wake(now):
                self._finish(Reset(), out)
                return
        pipes = self._pipes
        full = self._requests.waiting or len(self._exchanges) >= limits.PROXY_PIPELINE
        full = full or (self.answers and pipes.full(DOWNSTREAM))
        if full or not pipes.idle():
            pipes.settle(UPSTREAM, now, full, out)
            pipes.settle(DOWNSTREAM, now, False, out)
            if True in pipes.shut and self._ends(now, out):
                return
        self._look()
        earliest = min(pipes.next(), self._linger_until)
        for toxic in self._attached:
            earliest = min(earliest, toxic.wake_at)
        if earliest < self._wake:
            self._wake = earliest
            out.append(Wake(earliest))

    def _ends(self, now: float, out: list[Command]) -> bool:
        """Whether the connection is over now that one direction is."""
        pipes = self._pipes
        if pipes.broken and pipes.shut[DOWNSTREAM]:
            self._finish(Reset(), out)
        elif all(pipes.shut) or self._linger_until <= now:
            self._finish(Close(), out)
        elif self._closing and pipes.shut[DOWNSTREAM] and self._linger_until == NEVER:
            self._linger_until = now + limits.PROXY_LINGER
        return self.ended

    def _look(self) -> None:
        """Find out whether `track` will do."""
        self.passive = (
            not self._attached
            and self._pipes.idle()
            and not self._requests.waiting
            and len(self._exchanges) < limits.PROXY_PIPELINE
            and not any(exchange.answer is not None for exchange in self._exchanges)
        )

    def _finish(self, how: Close | Reset, out: list[Command]) -> None:
        self.ended = True
        out.append(how)
        self._pipes.drop()
        self._exchanges.clear()
        self._toxics = {}
        self._attached = []
        self._http = []

    # ---- from the client

    def _begin(self, exchange: Exchange) -> None:
        self._stats.requests += 1
        self._exchanges.append(exchange)
        if len(self._exchanges) >= limits.PROXY_PIPELINE:
            self.passive = False  # so that the next event pauses the client

    def _track_requests(self, data: bytes) -> None:
        for piece in self._requests.feed(data):
            if piece.kind == HEAD and piece.exchange is not None:
                self._begin(piece.exchange)
            elif piece.kind == RAW:
                self._go_raw()
        self._sent_ahead = len(self._requests.part)
        self._look()

    def _from_client(self, data: bytes, now: float, out: list[Command]) -> None:
        if self._closing:
            return
        for piece in self._requests.feed(data):
            self._request_piece(piece, now, out)
            if self.ended or self._closing:
                return
        if not self._http and not self._requests.waiting:
            self._release_part(now, out)

    def _request_piece(self, piece: Piece, now: float, out: list[Command]) -> None:
        exchange = piece.exchange
        ahead = min(self._sent_ahead, len(piece.data))
        self._sent_ahead -= ahead
        if piece.kind == RAW:
            self._leave_http(now, out)
        elif piece.kind == HEAD and exchange is not None:
            if not ahead:  # of a request that began before the fault the service has seen a part
                self._intercept(exchange)
            self._begin(exchange)
        if self.ended:
            return
        if exchange is None or exchange.answer is None:
            self._pipes.emit(UPSTREAM, exchange, piece.data[ahead:] if ahead else piece.data, now, out)
        else:
            self._answer(now, out)

    def _intercept(self, exchange: Exchange) -> None:
        for toxic in self._http:
            exchange.answer = toxic.request(exchange)
            if exchange.answer is not None:
                exchange.answered_by = toxic
                self._requests.waiting = False
                return

    def _release_part(self, now: float, out: list[Command]) -> None:
        """Relay what was held back of an incomplete head."""
        part = self._requests.part
        self._pipes.emit(UPSTREAM, None, part[self._sent_ahead :], now, out)
        self._sent_ahead = len(part)

    def _answer(self, now: float, out: list[Command]) -> None:
        """Give the answers whose turn it is: those of faults wait for the responses to earlier requests."""
        while self._exchanges and self._exchanges[0].answer is not None:
            exchange = self._exchanges[0]
            if self._pipes.ended[DOWNSTREAM]:
                return
            if not exchange.complete:
                if exchange.head.expect_continue and not exchange.continued:
                    exchange.continued = True
                    self._pipes.emit(DOWNSTREAM, exchange, _CONTINUE, now, out)
                return
            self._exchanges.popleft()
            self._pipes.emit(DOWNSTREAM, exchange, exchange.answer or b"", now, out)
            if exchange.answered_by is not None:
                exchange.answered_by.answered()
            if not exchange.head.keep_alive:
                self._pipes.ended[DOWNSTREAM] = True
                self._closing = True
                return

    # ---- from the service

    def _track_responses(self, data: bytes) -> None:
        for piece in self._responses.feed(data):
            if piece.end:
                self._exchanges.popleft()
            if self._responses.broken or self._responses.switched:
                self._go_raw()
        self._look()

    def _from_service(self, data: bytes, now: float, out: list[Command]) -> None:
        for piece in self._responses.feed(data):
            self._pipes.emit(DOWNSTREAM, piece.exchange, piece.data, now, out)
            if piece.end:
                self._exchanges.popleft()
            if self._responses.switched:
                self._release_part(now, out)
                self._go_raw()
            elif self._responses.broken:
                self._leave_http(now, out)
            elif piece.end:
                self._answer(now, out)
                self._no_upgrade(now, out)
            if self.ended:
                return

    def _no_upgrade(self, now: float, out: list[Command]) -> None:
        """A request for another protocol was answered in this one: what follows it are requests again."""
        if self._requests.waiting and not self._exchanges:
            self._requests.waiting = False
            self._from_client(b"", now, out)

    # ---- not HTTP

    def _leave_http(self, now: float, out: list[Command]) -> None:
        """The stream turned out not to be HTTP while a fault looked at it."""
        if self._raw:
            return
        if any(exchange.answer is not None for exchange in self._exchanges):
            self._finish(Reset(), out)  # a request was taken that can no longer be answered in its place
            return
        self._release_part(now, out)
        self._go_raw()
        for toxic in self._http:
            toxic.not_http()

    def _go_raw(self) -> None:
        """From here on nothing is known of messages; bytes are relayed."""
        self._raw = True
        self._requests.broken = self._responses.broken = True
        self._requests.waiting = False
        self._requests.part = b""
        self._sent_ahead = 0
        self._exchanges.clear()

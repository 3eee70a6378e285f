"""Cuts the two byte streams of an HTTP/1.1 connection into messages and pairs responses with requests.

Every byte that goes in comes out once, in order, as part of a piece, except a head that is incomplete: it waits in the
reader's `part`. A stream that turns out not to be HTTP comes out as RAW from there on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from raftchaos import limits
from raftchaos.proxy.editing import EditedMessage
from raftchaos.proxy.http1 import (
    BLANK_LINE,
    Body,
    NotHttp,
    RequestHead,
    ResponseHead,
    may_begin_request,
    parse_request,
    parse_response,
    request_body,
    response_body,
)

HEAD: Final = "head"
BODY: Final = "body"
RAW: Final = "raw"
_VERSION: Final = b"HTTP/1."


class Exchange:
    """One request, and what becomes of its response."""

    __slots__ = (
        "answer",
        "answer_at",
        "answered_by",
        "began",
        "complete",
        "continued",
        "edited",
        "head",
        "number",
        "response",
        "status",
    )

    def __init__(self, number: int, head: RequestHead) -> None:
        self.began: float
        """The instant at which its head was complete."""
        self.number = number
        """Position of the request on its connection, from 0."""
        self.head = head
        self.complete = False
        """The whole request has been read."""
        self.answer: bytes | None = None
        """What a fault answers in place of the service, which then never sees the request."""
        self.answer_at = 0.0
        """Not before this instant; 0: at once."""
        self.answered_by: Answered | None = None
        """Who is told when the answer goes out."""
        self.continued = False
        """The client was told to send the body of a request that will be answered here."""
        self.response: ResponseHead | None = None
        """The head of the final response, once it is complete."""
        self.status = 0
        """The status that the client is told, once that is known."""
        self.edited: list[EditedMessage | None] | None = None
        """By direction: the message as faults change it."""


class Answered:
    """Told when an answer goes out; see `toxic.Toxic`."""

    __slots__ = ()

    def answered(self) -> None:
        """The answer of a request was handed to the client."""


class Piece(NamedTuple):
    """A part of a message. The first of a request, and of a final response, is its whole HEAD; all others are BODY."""

    kind: str
    exchange: Exchange | None
    data: bytes
    end: bool
    """The message ends with this piece."""


class RequestReader:
    """Cuts what a client sends into requests."""

    __slots__ = ("body", "broken", "count", "current", "part", "waiting")

    def __init__(self) -> None:
        self.count = 0
        self.part = b""
        """Bytes of a head that is not complete, or, while `waiting`, of what follows."""
        self.body: Body | None = None
        self.current: Exchange | None = None
        self.waiting = False
        """What follows a request waits for its response: it asked for another protocol, so that only the response says
        what that is; or a fault answers it later.
        """
        self.broken = False
        """Not HTTP, or no longer."""

    def single(self, data: bytes) -> Exchange | None:
        """The exchange that `data` begins, if it is exactly one request without a body: the quick way for most."""
        if self.part or self.body is not None or self.waiting or self.broken:
            return None
        if data[-4:] != BLANK_LINE or data.find(BLANK_LINE) != len(data) - 4 or data[0] in b"\r\n":
            return None
        try:
            head = parse_request(data)
        except NotHttp:
            return None
        if head.has_body or head.upgrade:
            return None
        self.current = exchange = Exchange(self.count, head)
        self.count += 1
        exchange.complete = True
        return exchange

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces of `data`; at most one incomplete head stays in `part`."""
        position = 0
        if self.part and self.body is None:
            data, self.part = self.part + data, b""
        while position < len(data):
            if self.waiting:
                self.part += data[position:]
                return
            if self.broken:
                yield Piece(RAW, None, data[position:], False)
                return
            try:
                piece, position = self._body(data, position) if self.body is not None else self._head(data, position)
            except NotHttp:
                self.broken = True
                continue
            if piece is None:
                self.part = data[position:]
                return
            yield piece

    def _body(self, data: bytes, position: int) -> tuple[Piece, int]:
        assert self.body is not None
        assert self.current is not None
        end = self.body.take(data, position)
        done = self.body.done
        if done:
            self._finish(self.current)
        return Piece(BODY, self.current, data if end - position == len(data) else data[position:end], done), end

    def _head(self, data: bytes, position: int) -> tuple[Piece | None, int]:
        start = position
        while position < len(data) and data[position] in b"\r\n":
            position += 1
        if position > start:  # empty lines between requests belong to none
            return Piece(BODY, self.current, data[start:position], False), position
        end = data.find(BLANK_LINE, position)
        if end < 0:
            if not may_begin_request(data[position:]) or len(data) - position > limits.HTTP_HEAD:
                raise NotHttp("no request")
            return None, position
        end += len(BLANK_LINE)
        text = data[position:end]
        if len(text) > limits.HTTP_HEAD or not may_begin_request(text):
            raise NotHttp("no request")
        head = parse_request(text)
        self.current = exchange = Exchange(self.count, head)
        self.count += 1
        self.body = request_body(head)
        if self.body is None:
            self._finish(exchange)
        return Piece(HEAD, exchange, text, exchange.complete), end

    def _finish(self, exchange: Exchange) -> None:
        self.body = None
        exchange.complete = True
        self.waiting = exchange.head.upgrade if exchange.answer is None else exchange.answer_at > 0


class ResponseReader:
    """Cuts what a service sends into responses to the exchanges of `queue`, oldest first.

    The caller takes an exchange off the queue when its response ends, before it asks for the next piece.
    """

    __slots__ = ("body", "broken", "part", "queue", "switched")

    def __init__(self, queue: deque[Exchange]) -> None:
        self.queue = queue
        self.part = b""
        """Bytes of a head that is not complete."""
        self.body: Body | None = None
        self.broken = False
        """Not HTTP, or nobody asked for it; nothing is known of the stream from here on."""
        self.switched = False
        """The connection speaks another protocol from here on."""

    def single(self, data: bytes) -> bool:
        """True if `data` is exactly one whole response, or lies within a body of known length; the quick way for most.

        The caller then takes the oldest exchange off the queue if `body` is None.
        """
        body = self.body
        if body is not None:
            remaining: int = getattr(body, "remaining", 0)
            if len(data) > remaining:
                return False
            body.take(data, 0)
            if body.done:
                self.body = None
            return True
        if self.part or not self.queue or self.broken or self.switched:
            return False
        end = data.find(BLANK_LINE) + len(BLANK_LINE)
        if end < len(BLANK_LINE):
            return False
        try:
            head = parse_response(data[:end])
        except NotHttp:
            return False
        if head.status < 200 or head.length != len(data) - end or not self._has_body(head):
            return False
        self.queue[0].status = head.status
        return True

    def _has_body(self, head: ResponseHead) -> bool:
        """Whether the extent of the body is what Content-Length says."""
        method = self.queue[0].head.method
        return method not in ("HEAD", "CONNECT") and head.status not in (204, 304)

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces of `data`; at most one incomplete head stays in `part`."""
        position = 0
        if self.part:
            data, self.part = self.part + data, b""
        while position < len(data):
            if self.broken or self.switched:
                yield Piece(RAW, None, data[position:], False)
                return
            if not self.queue or self.queue[0].answer is not None:
                self.broken = True
                continue
            try:
                piece, position = self._body(data, position) if self.body is not None else self._head(data, position)
            except NotHttp:
                self.broken = True
                continue
            if piece is None:
                self.part = data[position:]
                return
            yield piece

    def _body(self, data: bytes, position: int) -> tuple[Piece, int]:
        assert self.body is not None
        end = self.body.take(data, position)
        done = self.body.done
        if done:
            self.body = None
        return Piece(BODY, self.queue[0], data if end - position == len(data) else data[position:end], done), end

    def _head(self, data: bytes, position: int) -> tuple[Piece | None, int]:
        end = data.find(BLANK_LINE, position)
        if end < 0:
            part = data[position : position + len(_VERSION)]
            if len(data) - position > limits.HTTP_HEAD or not _VERSION.startswith(part):
                raise NotHttp("no response")
            return None, position
        end += len(BLANK_LINE)
        text = data[position:end]
        if len(text) > limits.HTTP_HEAD:
            raise NotHttp("no response")
        return self._begin(parse_response(text), text), end

    def _begin(self, head: ResponseHead, text: bytes) -> Piece:
        """Take a complete head."""
        exchange = self.queue[0]
        method = exchange.head.method
        if head.status == 101 or (method == "CONNECT" and 200 <= head.status < 300):
            self.switched = True
            return Piece(BODY, exchange, text, True)
        if head.status < 200:
            return Piece(BODY, exchange, text, False)  # an interim response; the final one follows
        exchange.response = head
        exchange.status = head.status
        self.body = response_body(head, method)
        return Piece(HEAD, exchange, text, self.body is None)

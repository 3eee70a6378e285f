"""HTTP/1.1 heads and the extent of bodies. Heads are parsed by llhttp, which refuses what two readers could take
differently (both lengths, a length twice, bare line feeds); what it refuses is relayed as plain bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

import httptools

from raftchaos import limits

BLANK_LINE: Final = b"\r\n\r\n"
METHODS: Final = frozenset(
    b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK SEARCH "
    b"REPORT MKACTIVITY CHECKOUT MERGE NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE LINK UNLINK BIND REBIND UNBIND ACL "
    b"QUERY".split()
)
_LONGEST_METHOD: Final = max(map(len, METHODS))
_REMEMBERED_HEAD: Final = 2_048  # larger heads are parsed each time, so that the memory of parsed heads stays small
_CHUNK_LINE: Final = 4 * 1024
_CHUNK_DIGITS: Final = 15


class NotHttp(ValueError):
    """These bytes are not HTTP/1.1 that every reader takes the same way."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What must be known of a request to find its end, to answer it, and to match it."""

    method: str
    target: bytes
    version: str
    headers: tuple[tuple[bytes, bytes], ...]
    keep_alive: bool
    upgrade: bool
    """It asks for another protocol (Upgrade, CONNECT); whether it gets one the response says."""
    expect_continue: bool
    chunked: bool
    length: int

    @property
    def has_body(self) -> bool:
        return self.chunked or self.length > 0


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What must be known of a response to find its end."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    chunked: bool
    length: int | None
    """None: until the connection closes, unless chunked or without a body."""


class _Heads:
    """Receives llhttp's callbacks for one head."""

    __slots__ = ("complete", "headers", "keep_alive", "parser", "target")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.complete = False
        self.keep_alive = False
        self.parser: Any = None

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True
        self.keep_alive = self.parser.should_keep_alive()


def _parse(head: bytes, parser_class: Any) -> _Heads:
    found = _Heads()
    found.parser = parser_class(found)
    try:
        found.parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # says only that another protocol may follow; the head is complete
    except httptools.HttpParserError as error:
        raise NotHttp(str(error)) from None
    if not found.complete:
        raise NotHttp("a blank line within the head")
    return found


def _framing(headers: list[tuple[bytes, bytes]]) -> tuple[bool, int | None]:
    """(chunked, content length) of headers that llhttp has accepted."""
    length = None
    codings = b""
    for name, value in headers:
        key = name.lower()
        if key == b"content-length":
            length = int(value)
        elif key == b"transfer-encoding":
            codings += b"," + value
    return codings.rpartition(b",")[2].strip().lower() == b"chunked", length


def _parse_request(head: bytes) -> RequestHead:
    found = _parse(head, httptools.HttpRequestParser)
    chunked, length = _framing(found.headers)
    return RequestHead(
        method=found.parser.get_method().decode("ascii"),
        target=found.target,
        version=found.parser.get_http_version(),
        headers=tuple(found.headers),
        keep_alive=found.keep_alive,
        upgrade=found.parser.should_upgrade(),
        expect_continue=any(n.lower() == b"expect" and v.lower() == b"100-continue" for n, v in found.headers),
        chunked=chunked,
        length=length or 0,
    )


def _parse_response(head: bytes) -> ResponseHead:
    found = _parse(head, httptools.HttpResponseParser)
    chunked, length = _framing(found.headers)
    coded = any(name.lower() == b"transfer-encoding" for name, _ in found.headers)
    return ResponseHead(found.parser.get_status_code(), tuple(found.headers), chunked, None if coded else length)


_recent_request = lru_cache(maxsize=256)(_parse_request)
_recent_response = lru_cache(maxsize=256)(_parse_response)


def parse_request(head: bytes) -> RequestHead:
    """The request whose head, blank line included, is `head`. Raises NotHttp. Clients repeat heads: recent ones are
    remembered.
    """
    return _recent_request(head) if len(head) <= _REMEMBERED_HEAD else _parse_request(head)


def parse_response(head: bytes) -> ResponseHead:
    """The response whose head, blank line included, is `head`. Raises NotHttp."""
    return _recent_response(head) if len(head) <= _REMEMBERED_HEAD else _parse_response(head)


def may_begin_request(part: bytes) -> bool:
    """Whether bytes that hold no complete head may become a request: False as soon as they cannot, so that a protocol
    that waits for an answer to a short line is never held back.
    """
    line, end, _ = part.partition(b"\r\n")
    if not end and len(part) > limits.HTTP_HEAD:
        return False
    method, space, rest = line.partition(b" ")
    if not space:
        if end or len(method) > _LONGEST_METHOD:
            return False
        method = method.removesuffix(b"\r")
        return any(known.startswith(method) for known in METHODS)
    return method in METHODS and (not end or rest.endswith((b" HTTP/1.1", b" HTTP/1.0")))


class Body(Protocol):
    """Finds the end of one body."""

    done: bool

    def take(self, data: bytes, start: int) -> int:
        """How far (an offset into `data`) the body reaches from `start` on. Raises NotHttp."""
        ...


class LengthBody:
    """A body of a known length."""

    __slots__ = ("done", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0

    def take(self, data: bytes, start: int) -> int:
        taken = min(self.remaining, len(data) - start)
        self.remaining -= taken
        self.done = self.remaining == 0
        return start + taken


class EndlessBody:
    """A body that ends with its connection."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def take(self, data: bytes, start: int) -> int:
        return len(data)


class ChunkedBody:
    """A chunked body: size lines, data, and trailers up to an empty line."""

    __slots__ = ("_in_trailers", "_line", "_remaining", "_trailers", "done", "spans")

    def __init__(self) -> None:
        self.done = False
        self.spans: list[tuple[int, int]] | None = None
        """If it is a list: where data lay in what was taken, as (start, end); whoever reads it clears it."""
        self._remaining = 0  # of the present chunk, with the line end that follows it
        self._line = b""  # the part of a line that has arrived
        self._in_trailers = False
        self._trailers = 0

    def take(self, data: bytes, start: int) -> int:
        size = len(data)
        while start < size and not self.done:
            if self._remaining:
                start = self._data(data, start)
                continue
            end = data.find(b"\n", start)
            self._line += data[start : end + 1] if end >= 0 else data[start:]
            if len(self._line) > _CHUNK_LINE:
                raise NotHttp("a chunk's line is too long")
            if end < 0:
                return size
            start = end + 1
            line, self._line = self._line, b""
            self._complete(line)
        return start

    def _data(self, data: bytes, start: int) -> int:
        taken = min(self._remaining, len(data) - start)
        before, self._remaining = self._remaining, self._remaining - taken
        for left, wanted in ((2, b"\r"), (1, b"\n")):  # the two last bytes are the line end
            offset = before - left
            if 0 <= offset < taken and data[start + offset : start + offset + 1] != wanted:
                raise NotHttp("a chunk does not end where its size says")
        if self.spans is not None and before > 2:
            self.spans.append((start, start + min(taken, before - 2)))
        return start + taken

    def _complete(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise NotHttp("a bare line feed in a chunked body")
        if self._in_trailers:
            self._trailers += len(line)
            if self._trailers > limits.HTTP_HEAD:
                raise NotHttp("too many trailers")
            self.done = line == b"\r\n"
            return
        digits = line[:-2].partition(b";")[0].rstrip(b" \t")
        if not 1 <= len(digits) <= _CHUNK_DIGITS or not all(c in b"0123456789abcdefABCDEF" for c in digits):
            raise NotHttp("a chunk's size is not a number")
        length = int(digits, 16)
        self._in_trailers = length == 0
        self._remaining = length + 2 if length else 0


def request_body(head: RequestHead) -> Body | None:
    """What finds the end of the request's body; None if it has none."""
    if head.chunked:
        return ChunkedBody()
    return LengthBody(head.length) if head.length else None


def response_body(head: ResponseHead, method: str) -> Body | None:
    """What finds the end of the body of a final response to `method`; None if it has none."""
    if method == "HEAD" or head.status in (204, 304) or head.status < 200:
        return None
    if head.chunked:
        return ChunkedBody()
    if head.length is None:
        return EndlessBody()
    return LengthBody(head.length) if head.length else None

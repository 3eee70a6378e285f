"""HTTP/2 frames (RFC 9113, 4 and 6): where they begin and end, and those that faults write.

Only what must be known to follow a connection is read: heads of frames, and header blocks as wholes. Of DATA the bytes
come out as they arrive, so that a large frame is never held.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import hpack

from raftchaos import limits

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, _PING, _GOAWAY, WINDOW_UPDATE, _CONTINUATION = range(10)
INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 2, 7, 8
END_STREAM: Final = 0x1
_END_HEADERS: Final = 0x4
_PADDED: Final = 0x8
_PRIORITIZED: Final = 0x20
_HEAD: Final = 9
_TABLE_SIZE: Final = 1  # SETTINGS_HEADER_TABLE_SIZE
_SMALLEST_LIMIT: Final = 16_384  # a frame of this size every receiver takes (RFC 9113, 4.2)

Fields = list[tuple[bytes, bytes]]
"""Header fields in their order, names in lower case."""


class NotHttp2(ValueError):
    """These bytes are no HTTP/2 that can be followed."""


class Frame(NamedTuple):
    """A whole frame, a header block with all its frames, or what has come of a DATA frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    """Without padding; of a header block the fragments together."""
    raw: bytes
    """All bytes that it is made of."""
    window: int = 0
    """By how much it narrows the windows of flow control."""
    first: bool = True
    last: bool = True

    @property
    def ends(self) -> bool:
        """Its sender sends nothing more on the stream."""
        return self.last and self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)


class _DataFrame:
    """A DATA frame that is under way."""

    __slots__ = ("flags", "left", "padding", "stream")

    def __init__(self, flags: int, stream: int, left: int, padding: int) -> None:
        self.flags = flags
        self.stream = stream
        self.left = left
        self.padding = padding


class FrameReader:
    """Cuts one direction into frames."""

    __slots__ = ("_at", "_buffer", "_data", "_preface")

    def __init__(self, preface: bytes = b"") -> None:
        """`preface` comes before the first frame (RFC 9113, 3.4)."""
        self._preface = preface
        self._data: _DataFrame | None = None
        self._buffer = b""
        self._at = 0

    @property
    def part(self) -> bytes:
        """What has come of a frame, other than DATA, that is not complete; after NotHttp2, all that was not read."""
        return self._buffer[self._at :]

    @property
    def amid_data(self) -> bool:
        """A DATA frame is under way."""
        return self._data is not None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames of `data`, once each, in order. Raises NotHttp2."""
        self._buffer, self._at = self.part + data, 0
        while self._at < len(self._buffer) and (frame := self._next()) is not None:
            self._at += len(frame.raw)
            yield frame

    def _next(self) -> Frame | None:
        if self._data is not None:
            return self._more(self._data, 0)
        if self._preface:
            return self._begin()
        data, at = self._buffer, self._at
        if len(data) - at < _HEAD:
            return None
        size = int.from_bytes(data[at : at + 3], "big")
        kind, flags, stream = data[at + 3], data[at + 4], struct.unpack_from(">I", data, at + 5)[0] & 0x7FFFFFFF
        if kind == DATA:
            return self._data_begins(size, flags, stream)
        if size > limits.HTTP_HEAD or kind in (PUSH_PROMISE, _CONTINUATION):
            raise NotHttp2("a frame that is too large, or where it may not be, or a push that nobody follows")
        end = at + _HEAD + size
        if len(data) < end:
            return None
        if kind == HEADERS:
            return self._headers(flags, stream, end)
        return Frame(kind, flags, stream, data[at + _HEAD : end], data[at:end])

    def _begin(self) -> Frame | None:
        start = self.part[: len(self._preface)]
        if not self._preface.startswith(start):
            raise NotHttp2("no preface")
        if len(start) < len(self._preface):
            return None
        self._preface = b""
        return Frame(PRIORITY, 0, 0, b"", start)

    def _data_begins(self, size: int, flags: int, stream: int) -> Frame | None:
        head, padding = _HEAD, 0
        if flags & _PADDED:
            if len(self._buffer) - self._at <= _HEAD:
                return None
            head, padding = _HEAD + 1, self._buffer[self._at + _HEAD]
            if padding >= size:
                raise NotHttp2("more padding than frame")
        self._data = _DataFrame(flags, stream, size + _HEAD - head, padding)
        return self._more(self._data, head)

    def _more(self, present: _DataFrame, head: int) -> Frame:
        raw = self._buffer[self._at : self._at + head + present.left]
        here = len(raw) - head
        useful = max(0, min(here, present.left - present.padding))
        present.left -= here
        last = present.left == 0
        if last:
            self._data = None
        padded = head - _HEAD if head else 0  # the byte that says how much padding there is counts, too
        payload = raw[head : head + useful]
        return Frame(DATA, present.flags, present.stream, payload, raw, here + padded, bool(head), last)

    def _headers(self, flags: int, stream: int, end: int) -> Frame | None:
        """A header block: the frame that ends here, and its continuations, between which nothing may come."""
        data, begin = self._buffer, self._at
        block = _fragment(data[begin + _HEAD : end], flags)
        done = bool(flags & _END_HEADERS)
        for _ in range(limits.HTTP2_CONTINUATIONS):
            if done:
                return Frame(HEADERS, flags, stream, block, data[begin:end])
            if len(data) - end < _HEAD:
                return None
            size = int.from_bytes(data[end : end + 3], "big")
            same = struct.unpack_from(">I", data, end + 5)[0] & 0x7FFFFFFF == stream
            if data[end + 3] != _CONTINUATION or not same or len(block) + size > limits.HTTP_HEAD:
                raise NotHttp2("a header block without its end")
            if len(data) < end + _HEAD + size:
                return None
            block += data[end + _HEAD : end + _HEAD + size]
            done = bool(data[end + 4] & _END_HEADERS)
            end += _HEAD + size
        raise NotHttp2("a header block in too many frames")


def _fragment(payload: bytes, flags: int) -> bytes:
    """The part of a header block in a HEADERS frame (RFC 9113, 6.2)."""
    begin = padding = 0
    if flags & _PADDED:
        begin, padding = 1, payload[0] if payload else 0
    if flags & _PRIORITIZED:
        begin += 5
    if begin + padding > len(payload):
        raise NotHttp2("more padding than frame")
    return payload[begin : len(payload) - padding]


class BlockReader:
    """Decodes the header blocks of one direction, every one of them: each may refer to those before (RFC 7541)."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=limits.HTTP_HEAD)

    def fields(self, block: bytes) -> Fields:
        """The fields of the next block. Raises NotHttp2."""
        try:
            return list(self._decoder.decode(block, raw=True))
        except hpack.HPACKError as error:
            raise NotHttp2(str(error)) from None

    def settings(self, payload: bytes) -> None:
        """The receiver of this direction has sent these SETTINGS: the largest table that it ever took may be used."""
        for position in range(0, len(payload) - 5, 6):
            name, value = struct.unpack_from(">HI", payload, position)
            if name == _TABLE_SIZE:
                wanted = min(value, limits.HTTP2_TABLE)
                self._decoder.max_allowed_table_size = max(self._decoder.max_allowed_table_size, wanted)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def data_frame(stream: int, payload: bytes, *, end: bool = False) -> bytes:
    """A DATA frame without padding, or several where it would be larger than every receiver takes."""
    cuts = range(0, max(1, len(payload)), _SMALLEST_LIMIT)
    parts = [payload[cut : cut + _SMALLEST_LIMIT] for cut in cuts]
    flags = [0] * (len(parts) - 1) + [END_STREAM if end else 0]
    return b"".join(frame(DATA, flag, stream, part) for flag, part in zip(flags, parts, strict=True))


def headers_frame(stream: int, fields: Iterable[tuple[bytes, bytes]], *, end: bool = False) -> bytes:
    """A header block that refers to no other, so that blocks may be left out, put in, and change their order.

    It begins by giving up the receiver's dynamic table (RFC 7541, 6.3): what its sender believes to be in there does
    not matter then, and no limit of the receiver is exceeded.
    """
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    block = encoder.encode(fields, huffman=False)
    flags = END_STREAM if end else 0
    first, rest = block[:_SMALLEST_LIMIT], block[_SMALLEST_LIMIT:]
    out = frame(HEADERS, flags | (0 if rest else _END_HEADERS), stream, first)
    while rest:
        first, rest = rest[:_SMALLEST_LIMIT], rest[_SMALLEST_LIMIT:]
        out += frame(_CONTINUATION, 0 if rest else _END_HEADERS, stream, first)
    return out


def reset_frame(stream: int, code: int) -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def window_frame(stream: int, amount: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", amount))


def window_of(frames: bytes) -> int:
    """By how much these whole frames narrow the windows of flow control."""
    total = position = 0
    while position < len(frames):
        size = int.from_bytes(frames[position : position + 3], "big")
        total += size if frames[position + 3] == DATA else 0
        position += _HEAD + size
    return total


def speaks_http2(data: bytes) -> bool:
    """Whether what a service sends unasked may be the beginning of HTTP/2: its SETTINGS."""
    return data[:1] == b"\0" and data[3:_HEAD] == b"\x04\0\0\0\0\0"[: max(0, len(data) - 3)]

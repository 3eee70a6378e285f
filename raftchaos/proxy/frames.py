"""WebSocket frames (RFC 6455, 5): where they begin and end, to which message they belong, and close frames.

Only their heads are looked at, so that a connection can be followed from its first byte at little cost; payloads stay
as they are, masked or not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

CLOSE: Final = 8
_FIN: Final = 0x80
_COMPRESSED: Final = 0x40  # permessage-deflate (RFC 7692) marks the first frame of a message with it
_MASKED: Final = 0x80
_CONTROL: Final = 8
_SHORT, _LONG = 126, 127  # lengths that say that the length follows in two or eight bytes


class FramePiece(NamedTuple):
    """A part of a frame; its first one holds the whole head."""

    data: bytes
    head: int
    """So many bytes of `data` are the head of a frame."""
    message: int
    """Position of its message in its direction, from 0; -1: a control frame."""
    opens: bool
    """A message begins here."""
    closes: bool
    """The message ends with this."""
    compressed: bool
    """The message is compressed in the context of those before it."""


class FrameReader:
    """Cuts one direction into frames. Bytes come out once, in order; an incomplete head waits in `part`."""

    __slots__ = ("_compressed", "_count", "_final", "_left", "_message", "part")

    def __init__(self) -> None:
        self.part = b""
        self._left = 0  # bytes of the present frame that are still to come
        self._count = 0  # messages
        self._message = -1  # of the present frame
        self._final = False  # the present frame is the last one of its message
        self._compressed = False

    @property
    def between(self) -> bool:
        """Whether one frame has ended and no other has begun."""
        return not self.part and self._left == 0

    def feed(self, data: bytes) -> Iterator[FramePiece]:
        """The pieces of `data`."""
        if self.part:
            data, self.part = self.part + data, b""
        position = 0
        while position < len(data):
            if self._left:
                end = min(len(data), position + self._left)
                self._left -= end - position
                yield self._piece(data[position:end], 0, opens=False)
                position = end
                continue
            size = _head_size(data, position)
            if size is None or len(data) - position < size:
                self.part = data[position:]
                return
            opens = self._begin(data, position)
            end = min(len(data), position + size + self._left)
            self._left -= end - position - size
            yield self._piece(data[position:end], size, opens=opens)
            position = end

    def _piece(self, data: bytes, head: int, *, opens: bool) -> FramePiece:
        closes = self._final and self._left == 0 and self._message >= 0
        return FramePiece(data, head, self._message, opens, closes, self._compressed)

    def _begin(self, data: bytes, position: int) -> bool:
        first = data[position]
        opcode, opens = first & 0x0F, False
        self._final = bool(first & _FIN)
        if opcode >= _CONTROL:
            self._message = -1
        else:
            opens = opcode != 0
            self._count += opens
            self._message = self._count - 1
            if opens:
                self._compressed = bool(first & _COMPRESSED)
        length = data[position + 1] & 0x7F
        if length == _SHORT:
            (length,) = struct.unpack_from(">H", data, position + 2)
        elif length == _LONG:
            (length,) = struct.unpack_from(">Q", data, position + 2)
        self._left = length
        return opens


def _head_size(data: bytes, position: int) -> int | None:
    """The size of the head that begins here; None if that is not known yet."""
    if len(data) - position < 2:
        return None
    second = data[position + 1]
    length = second & 0x7F
    return 2 + (2 if length == _SHORT else 8 if length == _LONG else 0) + (4 if second & _MASKED else 0)


def close_frame(code: int, mask: bytes = b"") -> bytes:
    """A close frame with this code; a client's is masked with four bytes."""
    payload = struct.pack(">H", code)
    if not mask:
        return bytes([_FIN | CLOSE, len(payload)]) + payload
    masked = bytes(byte ^ key for byte, key in zip(payload, mask, strict=False))
    return bytes([_FIN | CLOSE, _MASKED | len(payload)]) + mask + masked

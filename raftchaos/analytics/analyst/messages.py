"""What main and the analyst say to each other, over a pair of connected sockets: msgpack values, one after the other.

Main says `{"cell": bytes}`, `{"event": map}`, `{"faults": [map]}` (those that are or were on) and `{"ask": number,
"what": text, "with": map}`. The analyst says `{"answer": number, "found": value}` or `{"answer": number, "error": code,
"message": text}`, and once a second `{"report": map}`: what main shows without asking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgpack

from raftchaos import limits


class Garbled(ValueError):
    """Bytes that are no message; the connection is of no use any more."""


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as bytes. Raises Garbled if it is larger than the other side takes."""
    data: bytes = msgpack.packb(message)
    if len(data) > limits.ANALYST_MESSAGE:
        raise Garbled(f"a message of {len(data)} bytes, at most {limits.ANALYST_MESSAGE} are taken")
    return data


class Messages:
    """Cuts what comes into messages."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(max_buffer_size=2 * limits.ANALYST_MESSAGE)

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages that are whole by now. Raises Garbled."""
        try:
            self._unpacker.feed(data)
            for message in self._unpacker:
                if not isinstance(message, dict):
                    raise Garbled(f"found {type(message).__name__}, expected a map")
                yield message
        except (msgpack.UnpackException, ValueError, RecursionError) as error:
            raise Garbled(f"no message: {error}") from None

"""Server-sent events as text (https://html.spec.whatwg.org/multipage/server-sent-events.html): writing and reading.

Both sides of the wire use this module. It has no socket: the server writes what `encode` returns, the client feeds what
it reads to a `Decoder`.
"""

from __future__ import annotations

from dataclasses import dataclass

from raftchaos.errors import RaftchaosError

LINE: int = 256 * 1024
"""The longest line that a reader takes; far more than any event of ours."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream. `id` is what a reader sends as Last-Event-ID to go on after it."""

    event: str
    data: str
    id: str = ""


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    lines = [f"event: {message.event}"]
    if message.id:
        lines.append(f"id: {message.id}")
    lines.extend(f"data: {line}" for line in message.data.split("\n"))
    return ("\n".join(lines) + "\n\n").encode()


def heartbeat(place: str) -> bytes:
    """A comment, by which a dead connection is noticed, and the place that the stream has come to.

    Readers get no message from it, but go on after this place if the connection breaks.
    """
    return f": still here\nid: {place}\n\n".encode()


class Decoder:
    """Takes a stream apart, whatever the sizes of the pieces in which it arrives."""

    def __init__(self) -> None:
        self._rest = b""
        self._event = ""
        self._id = ""
        self._data: list[str] = []

    @property
    def place(self) -> str:
        """The id after which the stream goes on; empty before the first."""
        return self._id

    def feed(self, piece: bytes) -> list[Message]:
        """The messages that this piece completes. Raises RaftchaosError if a line is longer than `LINE`."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LINE or any(len(line) > LINE for line in lines):
            raise RaftchaosError(f"found a line of more than {LINE} bytes in an event stream", hint="is this a peer?")
        found = []
        for line in lines:
            message = self._line(line.rstrip(b"\r").decode("utf-8", "replace"))
            if message is not None:
                found.append(message)
        return found

    def _line(self, line: str) -> Message | None:
        if not line:
            message = Message(self._event or "message", "\n".join(self._data), self._id) if self._data else None
            self._event, self._data = "", []
            return message
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._event = value
        elif field == "data":
            self._data.append(value)
        elif field == "id":
            self._id = value
        return None

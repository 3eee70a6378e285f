"""Messages that faults change on their way: heads as lines, bodies as the data in them, whatever their framing. Pure.

A message that is edited is edited to its end: its head has told the reader what to expect.
"""

from __future__ import annotations

from collections.abc import Sequence

from raftchaos import limits
from raftchaos.proxy.commands import Ending
from raftchaos.proxy.http1 import Body, ChunkedBody

NAME_HEADER = b"Raftchaos-Fault"
"""Names the fault that was injected, where the experiment asks for it."""
_LAST_CHUNK = b"0\r\n\r\n"


class Head:
    """The head of a message as lines that may be changed."""

    __slots__ = ("_lines", "start")

    def __init__(self, raw: bytes) -> None:
        self.start, *lines = raw[:-4].split(b"\r\n")
        self._lines: list[tuple[bytes, bytes]] = []  # (name in lower case, the whole line)
        for line in lines:
            if line[:1] in b" \t" and self._lines:  # a line that goes on (obsolete, but some send it)
                name, before = self._lines.pop()
                self._lines.append((name, before + b"\r\n" + line))
            else:
                self._lines.append((line.partition(b":")[0].strip().lower(), line))

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header."""
        wanted = name.lower()
        return [line.partition(b":")[2].strip() for key, line in self._lines if key == wanted]

    def remove(self, name: bytes) -> bool:
        """Take a header away; whether it was there."""
        wanted, before = name.lower(), len(self._lines)
        self._lines = [line for line in self._lines if line[0] != wanted]
        return len(self._lines) < before

    def set(self, name: bytes, value: bytes) -> None:
        """Give a header this value alone."""
        self.remove(name)
        self.add(name, value)

    def add(self, name: bytes, value: bytes) -> None:
        """One more line."""
        self._lines.append((name.lower(), name + b": " + value))

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return any(
            value.rpartition(b",")[2].strip().lower() == b"chunked" for value in self.values(b"Transfer-Encoding")
        )

    @property
    def length(self) -> int | None:
        """The length of the body as the head says it; None if it does not."""
        found = self.values(b"Content-Length")
        return int(found[0]) if found and not self.chunked else None

    def set_length(self, length: int) -> None:
        """Say that the body is so long."""
        self.remove(b"Transfer-Encoding")
        self.remove(b"Trailer")
        self.set(b"Content-Length", b"%d" % length)

    def encode(self) -> bytes:
        """As bytes, blank line included."""
        return b"\r\n".join([self.start, *(line for _, line in self._lines), b"", b""])


class Edit:
    """What one fault does to one message. Subclasses override what they need."""

    reads_body = False
    """It has a `body`; else the body passes as it came, its framing too."""
    wants_all = False
    """It has a `rewrite`: the message is held until all of its body is there."""

    def __init__(self) -> None:
        self.ending: Ending | None = None
        """Set by `begin` or `body`: nothing more of this message follows, and so the connection ends."""

    def head(self, head: Head) -> None:
        """Change the head."""

    def begin(self) -> bytes:
        """Data of the body that goes before what comes."""
        return b""

    def body(self, data: bytes) -> bytes:
        """What becomes of data of the body."""
        return data

    def rewrite(self, head: Head, body: bytes) -> bytes:
        """Another body in place of this one; the head may be changed, too, and says the length afterwards by itself."""
        return body


class EditedMessage:
    """One message on its way through the edits of several faults. Those that want all of it come first."""

    __slots__ = ("_edits", "_head", "_held", "_in", "_over", "_rewriters", "_spans", "ending")

    def __init__(self, edits: Sequence[Edit], body: Body | None) -> None:
        """`body` is what finds the end of the body as it comes; None if there is none. It is used up here."""
        self._edits = [edit for edit in edits if not edit.wants_all]
        self._rewriters = [edit for edit in edits if edit.wants_all and body is not None]
        self._in = body if self._rewriters or any(edit.reads_body for edit in self._edits) else None
        self._spans: list[tuple[int, int]] = []
        if isinstance(self._in, ChunkedBody):
            self._in.spans = self._spans
        self._head = Head(b"\r\n\r\n")
        self._held = bytearray()  # of the body, while it is not known whether all of it will come
        self._over = False
        self.ending: Ending | None = None
        """The connection ends so, after what has come out."""

    def start(self, raw: bytes) -> bytes:
        """The head as it goes on, and what of the body follows it at once."""
        self._head = Head(raw)
        return b"" if self._rewriters else self._start()

    def _start(self) -> bytes:
        for edit in self._edits:
            edit.head(self._head)
        if self._in is None:
            return self._head.encode()
        data = b""
        for edit in self._edits:
            data = edit.begin() + (edit.body(data) if data else b"")
        return self._head.encode() + self._framed(data)

    def feed(self, data: bytes, end: bool) -> bytes:
        """More of the body as it came; what goes on. `end`: that was all."""
        if self._in is None or self._in.done:  # empty lines may follow a request
            return data
        if self._over:
            return b""
        self._in.take(data, 0)
        if isinstance(self._in, ChunkedBody):
            data = b"".join(data[a:b] for a, b in self._spans)
            self._spans.clear()
        if not self._rewriters:
            return self._passed(data, end)
        self._held += data
        if len(self._held) > limits.EDITED_BODY:
            return self.release(end=end)
        return self._rewritten() if end else b""

    def _rewritten(self) -> bytes:
        body = bytes(self._held)
        for edit in self._rewriters:
            body = edit.rewrite(self._head, body)
        self._head.set_length(len(body))
        self._rewriters = []
        return self._start() + self._passed(body, end=True)

    def release(self, *, end: bool = False) -> bytes:
        """What is held, as it came: there is too much of it, or no more of it will come."""
        if not self._rewriters:
            return b""
        self._rewriters = []
        return self._start() + self._passed(bytes(self._held), end)

    def _passed(self, data: bytes, end: bool) -> bytes:
        for edit in self._edits:
            data = edit.body(data) if data else b""
        out = self._framed(data)
        if end and self._head.chunked and self.ending is None:
            out += _LAST_CHUNK
        return out

    def _framed(self, data: bytes) -> bytes:
        for edit in self._edits:
            if edit.ending is not None:
                self.ending = edit.ending
                self._over = True
        if self._head.chunked and data:
            return b"%x\r\n%s\r\n" % (len(data), data)
        return data

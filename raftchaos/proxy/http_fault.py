"""What faults on HTTP requests and responses have in common."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Generic, TypeVar

from raftchaos import limits
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Ending
from raftchaos.proxy.editing import NAME_HEADER, Edit, Head
from raftchaos.proxy.http1 import RequestHead, response_body
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Client, Fault, Toxic

_REASONS = {status.value: status.phrase for status in HTTPStatus}
F = TypeVar("F", bound="HttpFault")
T = TypeVar("T")


class HttpFault(Fault):
    """A fault that decides about each request; `probability` is the part of the requests that are touched."""

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.names_itself = bool(parameters.get("nameFault", False))

    def mark(self, head: Head) -> None:
        """Name the fault in a response, if that is wanted."""
        if self.names_itself:
            head.add(NAME_HEADER, self.type.encode())

    def answer(self, status: int, body: bytes, request: RequestHead, *lines: str) -> bytes:
        """A whole response with this status; it says whether the connection lives on as the request asked for it."""
        named = [f"{NAME_HEADER.decode()}: {self.type}"] if self.names_itself else []
        head = [
            f"HTTP/1.1 {status} {reason_of(status)}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            f"Connection: {'keep-alive' if request.keep_alive else 'close'}",
            *lines,
            *named,
            "\r\n",
        ]
        text = "\r\n".join(head).encode("ascii")
        return text if request.method == "HEAD" else text + body


def reason_of(status: int) -> str:
    """The phrase that goes with a status."""
    return _REASONS.get(status, "Error")


class HttpToxic(Toxic, Generic[F]):
    """A fault on the requests of one connection."""

    __slots__ = ("_count", "_position", "client", "fault")

    http: ClassVar[bool] = True

    def __init__(self, fault: F, position: int, client: Client) -> None:
        super().__init__()
        self.fault = fault
        self.client = client
        self._position = position
        self._count = -1

    def not_http(self, kind: str) -> None:
        self.fault.effect.add(kind)

    @property
    def place(self) -> tuple[int, int]:
        """Position of the connection, and of the request that was asked about last on it, since the fault began."""
        return self._position, self._count

    def picks(self, exchange: Exchange) -> bool:
        """Whether the fault touches this request; asked once of each."""
        self._count += 1
        return self.fault.picks_request(self._position, self._count, self.client, exchange)

    def answered(self) -> None:
        self.fault.effect.touch("requests")


class ResponseToxic(HttpToxic[F]):
    """A fault that changes responses. It decides when the head of the response is there."""

    __slots__ = ()

    http: ClassVar[bool] = False
    responds: ClassVar[bool] = True

    def edit(self, direction: int, exchange: Exchange, now: float) -> Edit | None:
        if direction != DOWNSTREAM or exchange.response is None:
            return None
        if not self.fault.match.response(exchange.response.status) or not self.picks(exchange):
            return None
        edit = self.change(exchange)
        if edit is None:
            self.fault.passed()
        return edit

    def change(self, exchange: Exchange) -> Edit | None:
        """What it does to a response that was picked; None if it cannot be done to this one."""
        return None


class RequestEditToxic(HttpToxic[F]):
    """A fault that changes requests."""

    __slots__ = ()

    def edit(self, direction: int, exchange: Exchange, now: float) -> Edit | None:
        return self.change(exchange) if direction == UPSTREAM and self.picks(exchange) else None

    def change(self, exchange: Exchange) -> Edit | None:
        """What it does to a request that was picked."""
        return None


class Replacement(Edit):
    """Another response in place of the service's, or only another body: what comes of the old one is dropped."""

    reads_body = True

    def __init__(
        self, fault: HttpFault, body: bytes, status: int | None = None, content_type: str | None = None
    ) -> None:
        super().__init__()
        self._fault = fault
        self._status = status
        self._body = body
        self._type = content_type

    def head(self, head: Head) -> None:
        if self._status is not None:
            head.start = f"HTTP/1.1 {self._status} {reason_of(self._status)}".encode("ascii")
        for name in (b"Content-Encoding", b"Content-MD5", b"Digest", b"Content-Digest", b"ETag", b"Content-Range"):
            head.remove(name)
        if self._type is not None:
            head.set(b"Content-Type", self._type.encode("latin-1"))
        head.set_length(len(self._body))
        self._fault.mark(head)
        self._fault.effect.touch("responses")

    def begin(self) -> bytes:
        return self._body

    def body(self, data: bytes) -> bytes:
        return b""


class CutShort(Edit):
    """Only the beginning of a body goes on: the connection breaks then, or the head says that it is all."""

    reads_body = True

    def __init__(self, toxic: HttpToxic[Any], keep: int | None, ending: Ending | None) -> None:
        """`keep`: so many bytes; None: what comes first, whatever it is."""
        super().__init__()
        self._toxic = toxic
        self._left = keep
        self._how = ending
        self._done = False

    def head(self, head: Head) -> None:
        fault: HttpFault = self._toxic.fault
        fault.mark(head)
        if self._how is None and head.length is not None:
            head.set_length(min(self._left or 0, head.length))
        if self._left == 0 and self._how is not None:
            self._cut()

    def body(self, data: bytes) -> bytes:
        if self._done:
            return b""
        if self._toxic.gone and self._how is not None:
            return data
        if self._left is None:
            self._cut()
            return data
        kept = data[: self._left]
        self._left -= len(kept)
        if self._left == 0:
            self._cut()
        return kept

    def _cut(self) -> None:
        self._done = True
        self.ending = self._how
        self._toxic.fault.effect.touch("responses")


def kept_of(exchange: Exchange, wanted: int | None) -> tuple[bool, int | None]:
    """(whether the body of a response can be cut short, how many bytes stay; None: what comes first)."""
    head = exchange.response
    if head is None or response_body(head, exchange.head.method) is None:
        return False, None
    if head.chunked or head.length is None:
        return True, wanted
    keep = head.length // 2 if wanted is None else wanted
    return keep < head.length, keep


class Table(Generic[T]):
    """A state for each client or route; the one that was asked for longest ago is forgotten."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str, new: T) -> T:
        """The state of a key; `new` if there is none."""
        state = self._states.setdefault(key, new)
        self._states.move_to_end(key)
        if len(self._states) > limits.PROXY_CLIENTS:
            self._states.popitem(last=False)
        return state

"""http_error: the proxy answers requests with an error; the service never sees them, the connection lives on."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.http1 import RequestHead
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Fault, ParameterError, Toxic, draw

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_BODY = "raftchaos: this error was injected by an experiment\n"


def answer(status: int, body: bytes, request: RequestHead) -> bytes:
    """A whole response with this status; it says whether the connection lives on as the request asked for it."""
    connection = "keep-alive" if request.keep_alive else "close"
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: {connection}\r\n\r\n"
    ).encode("ascii")
    return head if request.method == "HEAD" else head + body


class HttpErrorToxic(Toxic):
    """Answers requests of one connection."""

    __slots__ = ("_fault", "_position", "_requests")

    http: ClassVar[bool] = True

    def __init__(self, fault: HttpError, position: int) -> None:
        super().__init__()
        self._fault = fault
        self._position = position
        self._requests = 0

    def request(self, exchange: Exchange) -> bytes | None:
        place = (self._position, self._requests)
        self._requests += 1
        if not self._fault.hits(*place):
            self._fault.effect.add("passed")
            return None
        return answer(self._fault.status(*place), self._fault.body, exchange.head)

    def answered(self) -> None:
        self._fault.effect.add("touched")
        self._fault.effect.add("requests")

    def not_http(self) -> None:
        self._fault.effect.add("skipped_not_http")


class HttpError(Fault):
    """`statusCode` or `statusCodes`, `body`; `probability` is the part of the requests that are answered."""

    type: ClassVar[str] = "http_error"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        codes = parameters.get("statusCodes") or [parameters.get("statusCode", 503)]
        if not isinstance(codes, list) or not all(type(code) is int and 400 <= code <= 599 for code in codes):
            raise ParameterError(f"statusCode or statusCodes is {codes!r}, expected whole numbers from 400 to 599")
        self._codes: list[int] = codes
        body = parameters.get("body", _BODY)
        if not isinstance(body, str) or len(body) > limits.FAULT_BODY:
            raise ParameterError(f"body is no text of at most {limits.FAULT_BODY} characters")
        self.body = body.encode()

    def status(self, *position: int | str) -> int:
        """The status of the answer at this position."""
        if len(self._codes) == 1:
            return self._codes[0]
        return self._codes[int(draw(self.seed, "status", *position) * len(self._codes))]

    def toxic(self, position: int, now: float) -> Toxic | None:
        return HttpErrorToxic(self, position) if self.probability > 0 else None

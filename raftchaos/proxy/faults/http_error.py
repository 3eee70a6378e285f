"""http_error: the proxy answers requests with an error; the service never sees them, the connection lives on.

If the matcher asks for the status of the service's response, the service has seen the request and its response is
replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.calls import Call
from raftchaos.proxy.chance import ParameterError, draw, number, word
from raftchaos.proxy.editing import Edit
from raftchaos.proxy.http1 import response_body
from raftchaos.proxy.http_fault import HttpFault, HttpToxic, Replacement, ResponseToxic, Table
from raftchaos.proxy.matching import Key
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Answer, Client, Toxic

_BODY = "raftchaos: this error was injected by an experiment\n"


class HttpErrorToxic(HttpToxic["HttpError"]):
    """Answers requests of one connection."""

    __slots__ = ()

    def request(self, exchange: Exchange, now: float) -> Answer | None:
        if not self.picks(exchange):
            return None
        return Answer(self.fault.answer(self.fault.status(*self.place), self.fault.body, exchange.head))


class ReplacedErrorToxic(ResponseToxic["HttpError"]):
    """Replaces responses of one connection."""

    __slots__ = ()

    def change(self, exchange: Exchange) -> Edit | None:
        if exchange.response is None or response_body(exchange.response, exchange.head.method) is None:
            return None
        status = self.fault.status(*self.place)
        return Replacement(self.fault, self.fault.body, status, "text/plain; charset=utf-8")


class HttpError(HttpFault):
    """`statusCode` or `statusCodes`, `body`; `pattern` with `errorsInRow`, `passesInRow`, `per`."""

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
        self._pattern = word(parameters, "pattern", "random", "burst", "sequential")
        self._errors = int(number(parameters, "errorsInRow", 3, 1, 1_000_000))
        self._passes = int(number(parameters, "passesInRow", 0, 0, 1_000_000))
        self._per = Key(parameters.get("per", "clientAddress"))
        self._left = 0  # errors of the present burst
        self._counts: Table[list[int]] = Table()  # requests of each client

    def status(self, *position: int | str) -> int:
        """The status of the answer at this position."""
        if len(self._codes) == 1:
            return self._codes[0]
        return self._codes[int(draw(self.seed, "status", *position) * len(self._codes))]

    def picks_request(self, position: int, count: int, client: Client, exchange: Exchange | Call) -> bool:
        """Of the requests that match and are sampled those that the pattern says."""
        if self._pattern == "burst" and self._left and self.match.request(exchange.head):
            if self.sample is not None and not self.sample.has(client.address, position, exchange.head):
                self.effect.add("control")
                return False
            self._left -= 1
            return True
        if not super().picks_request(position, count, client, exchange):
            return False
        if self._pattern == "burst":
            self._left = self._errors - 1
        elif self._pattern == "sequential":
            return self._turn(self._per.of(client.address, position, exchange.head) or "") or self.passed()
        return True

    def _turn(self, client: str) -> bool:
        """Whether it is the turn of an error in the sequence of this client's requests."""
        counts = self._counts.get(client, [0])
        number_, counts[0] = counts[0], counts[0] + 1
        if self._passes:
            number_ %= self._errors + self._passes
        return number_ < self._errors

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        kind = ReplacedErrorToxic if self.match.statuses else HttpErrorToxic
        return kind(self, position, client)

"""grpc: gRPC calls over HTTP/2 without TLS are answered with a status, cut after some messages, or delayed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from raftchaos import limits
from raftchaos.proxy.calls import Call, Touch
from raftchaos.proxy.chance import ParameterError, draw, number, word
from raftchaos.proxy.editing import NAME_HEADER
from raftchaos.proxy.http2 import Fields
from raftchaos.proxy.http_fault import HttpFault
from raftchaos.proxy.toxic import Client, Toxic, directions

STATUSES: Final = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
"""The status codes of gRPC by number. They stand in the model, too, which the process of the proxies does not import:
it would bring pydantic."""
_MESSAGE: Final = "raftchaos: this error was injected by an experiment"


class GrpcTouch(Touch):
    """The fault on one call."""

    __slots__ = ("_counted", "_place", "_toxic")

    def __init__(self, toxic: GrpcToxic, place: tuple[int, int]) -> None:
        fault = toxic.fault
        super().__init__(() if fault.action == "status" else fault.directions)
        self._toxic = toxic
        self._place = place
        self._counted = [-1, -1]  # by direction: the message that was counted last
        self.at_once = fault.action == "status"
        self.delays = fault.action == "delay"
        self.after = fault.after if fault.action == "abort" else 0
        self.trailers = fault.trailers
        self.name = fault.name if self.delays else []

    @property
    def gone(self) -> bool:
        return self._toxic.gone

    def due(self, direction: int, number: int, now: float) -> float:
        fault = self._toxic.fault
        delay = fault.delay(*self._place, direction, number)
        if number > self._counted[direction]:
            self._counted[direction] = number
            fault.effect.touch("messages")
            fault.effect.add("delayedMs", delay * 1000)
        return now + delay

    def done(self) -> None:
        self._toxic.fault.effect.touch("calls")


class GrpcToxic(Toxic):
    """Touches calls of one connection."""

    __slots__ = ("_client", "_count", "_position", "fault")

    calls: ClassVar[bool] = True

    def __init__(self, fault: Grpc, position: int, client: Client) -> None:
        super().__init__()
        self.fault = fault
        self._position = position
        self._client = client
        self._count = -1

    def not_http(self, kind: str) -> None:
        if kind != "skipped_http2":
            self.fault.effect.add(kind)

    def call(self, call: Call, *, fresh: bool) -> Touch | None:
        fault = self.fault
        if not call.is_grpc or (fault.action == "status" and not fresh):
            return None
        self._count += 1
        if not fault.picks_request(self._position, self._count, self._client, call):
            return None
        return GrpcTouch(self, (self._position, self._count))


class Grpc(HttpFault):
    """`action` with `status` and `message`, `afterMessages`, or `delayMs` and `jitterMs`; `direction`.

    `probability` is the part of the calls that are touched.
    """

    type: ClassVar[str] = "grpc"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.action = word(parameters, "action", "status", "abort", "delay")
        self.after = int(number(parameters, "afterMessages", 1, 1, limits.TRAFFIC_BYTES))
        self._delay = number(parameters, "delayMs", 1000.0, 0, limits.FAULT_DELAY_MS) / 1000
        self._jitter = number(parameters, "jitterMs", 0.0, 0, limits.FAULT_DELAY_MS) / 1000
        self.directions = directions(parameters)
        self.name: Fields = [(NAME_HEADER.lower(), self.type.encode())] if self.names_itself else []
        status = parameters.get("status", None if self.action == "abort" else "UNAVAILABLE")
        self.trailers = None if status is None else self._trailers(status, parameters.get("message", _MESSAGE))

    def _trailers(self, status: Any, message: Any) -> Fields:
        code = STATUSES.index(status) if status in STATUSES else status
        if isinstance(code, bool) or not isinstance(code, int) or not 1 <= code < len(STATUSES):
            raise ParameterError(f"status is {status!r}, expected a status of gRPC by its name or number")
        if not isinstance(message, str) or len(message) > limits.HEADER_VALUE:
            raise ParameterError(f"message is no text of at most {limits.HEADER_VALUE} characters")
        return [(b"grpc-status", b"%d" % code), (b"grpc-message", percent_encoded(message)), *self.name]

    def delay(self, *position: int) -> float:
        """Seconds by which the message at this position is delayed, never below 0."""
        if not self._jitter:
            return self._delay
        return max(0.0, self._delay + self._jitter * (2 * draw(self.seed, *position) - 1))

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        return GrpcToxic(self, position, client)


def percent_encoded(text: str) -> bytes:
    """As grpc-message wants it: UTF-8, all but the printable characters of ASCII and the percent sign in hex."""
    return b"".join(
        bytes([byte]) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in text.encode()
    )

"""grpc: gRPC calls over HTTP/2 without TLS are answered with a status, cut after some messages, or delayed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultType, Milliseconds, Probability
from raftchaos.model.faults.proxied import (
    ConnectionMatch,
    Direction,
    Globs,
    ProxyFaultParameters,
    Sample,
    Token,
    as_list,
)

StatusName = Literal[
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
"""The status codes of gRPC from 1 on, in the order of their numbers; OK, 0, is no error."""


class CallMatch(ConnectionMatch):
    """Which calls: all fields must match, of a list any value. In texts * stands for any characters."""

    path: Annotated[Globs, BeforeValidator(as_list)] | None = Field(
        default=None, description="Service and method, as /shop.Cart/* or */AddItem, or a list; * is any characters."
    )
    header: Annotated[dict[Token, Globs], Field(max_length=limits.MATCH_VALUES)] | None = Field(
        default=None, description="Metadata by name with the value that it must have, or a list; * is any characters."
    )


class GrpcParameters(ProxyFaultParameters):
    """Touches gRPC calls. TLS must have been ended before, by the proxy itself, or they pass as they are."""

    probability: Probability = Field(
        default=1.0, description="Part of the calls that are touched, 0 to 1; default 1; 0 touches nothing."
    )
    match: CallMatch | None = Field(
        default=None, description="Only calls for which all fields match: {clientAddress, path, header}; absent: all."
    )
    sample: Sample | None = Field(
        default=None,
        description="Only a part of the users, the same on every node: {percent, by}; the others are counted as the "
        "control group.",
    )
    action: Literal["status", "abort", "delay"] = Field(
        default="status",
        description="status (the default): a call is answered with an error, the service never sees it; abort: it is "
        "cut after some messages; delay: its messages and its end are late. The last two touch open calls, too.",
    )
    status: StatusName | Annotated[int, Field(ge=1, le=16)] | None = Field(
        default=None,
        description="Code of the status by its name or number, as UNAVAILABLE or 14 (the default of status); of abort: "
        "absent: the stream is reset (RST_STREAM), which clients report as INTERNAL.",
    )
    message: str = Field(
        default="raftchaos: this error was injected by an experiment",
        max_length=limits.HEADER_VALUE,
        description="Text of the status; default: a line that names raftchaos.",
    )
    after_messages: Annotated[int, Field(ge=1, le=limits.TRAFFIC_BYTES)] = Field(
        default=1, description="A call is cut when so many of its messages came through (abort), at least 1; default 1."
    )
    delay_ms: Milliseconds = Field(
        default=1000.0, description="Delay of a message (delay), in milliseconds, 0 to 600000; default 1000."
    )
    jitter_ms: Milliseconds = Field(
        default=0.0,
        description="Delays are drawn evenly from delayMs - jitterMs to delayMs + jitterMs, none below 0; default 0.",
    )
    direction: Direction = Field(
        default="downstream",
        description="Whose messages are counted or delayed: downstream (of the service, the default), upstream (of the "
        "client), or both.",
    )
    name_fault: bool = Field(
        default=False,
        description="Whether the metadata raftchaos-fault of the response says what was done; default false.",
    )


FAULT = FaultType(
    type="grpc",
    kind="continuous",
    parameters=GrpcParameters,
    summary="gRPC calls fail with a status, break off after some messages, or are late",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
    deed="while its calls were touched",
    example={"action": "status", "probability": 0.1},
)

"""websocket: messages of WebSocket connections are dropped, delayed or damaged, or the connection is closed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultType, Milliseconds, Probability
from raftchaos.model.faults.proxied import Direction, PickedRequestParameters

_NEVER_SENT = frozenset({1004, 1005, 1006, 1015})


def _code(code: int) -> int:
    if code in _NEVER_SENT or 1016 <= code < 3000:
        raise PydanticCustomError("rule", "a close code that may be sent (RFC 6455, 7.4), as 1001, 1011 or 4000")
    return code


class WebsocketParameters(PickedRequestParameters):
    """Touches messages of WebSocket connections, those that are open already, too (RFC 6455)."""

    probability: Probability = Field(
        default=1.0, description="Part of the messages that are touched, 0 to 1; default 1; 0 touches nothing."
    )
    action: Literal["close", "drop", "delay", "corrupt"] = Field(
        default="drop",
        description="drop (the default): a message does not arrive; delay: it is late, and so are those behind it; "
        "corrupt: bytes of it are changed; close: in its place both ends get a close frame.",
    )
    close_code: Annotated[int, Field(ge=1000, le=4999), AfterValidator(_code)] = Field(
        default=1011,
        description="Code of the close frames (close), 1000 to 4999; default 1011: something unexpected.",
    )
    delay_ms: Milliseconds = Field(
        default=1000.0, description="Delay of a message (delay), in milliseconds, 0 to 600000; default 1000."
    )
    rate: Annotated[float, Field(ge=0, le=limits.DAMAGE, allow_inf_nan=False)] = Field(
        default=0.01,
        description="Part of a message's bytes that are changed (corrupt), 0 to 0.1, at least the first; default 0.01.",
    )
    direction: Direction = Field(
        default="downstream",
        description="Which messages: downstream (of the service, the default), upstream (of the client), or both.",
    )


FAULT = FaultType(
    type="websocket",
    kind="continuous",
    parameters=WebsocketParameters,
    summary="WebSocket messages are lost, late or damaged, or connections are closed with a code",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
    deed="while its messages were touched",
    example={"action": "drop", "probability": 0.1},
)

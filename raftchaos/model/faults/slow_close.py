"""slow_close: a connection that was closed at one end stays open at the other for a while."""

from __future__ import annotations

from pydantic import Field

from raftchaos.model.faults.base import FaultType, Milliseconds
from raftchaos.model.faults.proxied import ConnectionFaultParameters, Direction


class SlowCloseParameters(ConnectionFaultParameters):
    """Passes on the end of a connection later than it came."""

    delay_ms: Milliseconds = Field(
        default=1000.0,
        description="The end of a stream is passed on so much later; in milliseconds, 0 to 600000; default 1000.",
    )
    direction: Direction = Field(
        default="downstream",
        description="Which end is late: downstream (the service closes, the default), upstream (the client does), or "
        "both.",
    )


FAULT = FaultType(
    type="slow_close",
    kind="continuous",
    parameters=SlowCloseParameters,
    summary="the end of a connection through a proxy arrives later",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
    deed="while its connections closed slowly",
    example={"delayMs": 1000.0},
)

"""timeout: nothing comes through a proxy any more, as behind a cable that was pulled."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raftchaos.model.faults.base import FaultType, Milliseconds
from raftchaos.model.faults.proxied import ConnectionFaultParameters, Direction


class TimeoutParameters(ConnectionFaultParameters):
    """Holds the data that flows through a proxy; connections stay open."""

    timeout_ms: Milliseconds = Field(
        default=0.0,
        description="A connection under the fault is closed after so much time; in milliseconds, 0 to 600000; default "
        "0: it stays open as long as its ends want.",
    )
    direction: Direction = Field(
        default="downstream",
        description="Which data is held: downstream (answers of the service, the default), upstream (requests to it), "
        "or both.",
    )
    afterwards: Literal["resume", "close"] = Field(
        default="resume",
        description="What becomes of a connection when the fault ends: resume (the default): what was held arrives, as "
        "when a network heals; close: it is closed, and what was held is lost.",
    )


FAULT = FaultType(
    type="timeout",
    kind="continuous",
    parameters=TimeoutParameters,
    summary="data through a proxy does not arrive while the connection stays open",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
    deed="while nothing came through it",
    example={"timeoutMs": 5000.0},
)

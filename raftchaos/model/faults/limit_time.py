"""limit_time: a proxy closes connections after a time of traffic."""

from __future__ import annotations

from pydantic import Field

from raftchaos.model.faults.base import FaultType, Milliseconds
from raftchaos.model.faults.proxied import ConnectionFaultParameters


class LimitTimeParameters(ConnectionFaultParameters):
    """Closes connections through a proxy a while after their first byte."""

    limit_ms: Milliseconds = Field(
        description="A connection is closed so long after its first byte, or the first one under the fault; in "
        "milliseconds, 0 to 600000."
    )


FAULT = FaultType(
    type="limit_time",
    kind="continuous",
    parameters=LimitTimeParameters,
    summary="connections through a proxy are closed some time after their first byte",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
    deed="while its connections were cut off by their age",
    example={"limitMs": 1000.0},
)

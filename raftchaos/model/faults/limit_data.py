"""limit_data: a proxy closes connections after so many bytes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.proxied import ConnectionFaultParameters


class LimitDataParameters(ConnectionFaultParameters):
    """Closes connections through a proxy after a part of their data."""

    limit_bytes: Annotated[int, Field(ge=0, le=limits.TRAFFIC_BYTES)] = Field(
        description="So many bytes still come through on each connection, counted from when the fault touches it."
    )
    direction: Literal["downstream", "upstream"] = Field(
        default="downstream",
        description="Which bytes are counted: downstream (of the service, the default) or upstream (of the client).",
    )


FAULT = FaultType(
    type="limit_data",
    kind="continuous",
    parameters=LimitDataParameters,
    summary="connections through a proxy are closed after so many bytes",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
    deed="while its connections were cut off by their size",
    example={"limitBytes": 1000},
)

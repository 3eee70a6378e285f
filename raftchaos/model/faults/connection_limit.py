"""connection_limit: a proxy takes no more than so many connections at a time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.proxied import ConnectionFaultParameters


class ConnectionLimitParameters(ConnectionFaultParameters):
    """Resets connections through a proxy that are too many, as a service whose pool is full."""

    max_connections: Annotated[int, Field(ge=0, le=limits.PROXY_CONNECTIONS)] = Field(
        description="So many connections may be open; those that are when the fault begins count, and live on. One "
        "more is reset at once."
    )


FAULT = FaultType(
    type="connection_limit",
    kind="continuous",
    parameters=ConnectionLimitParameters,
    summary="a proxy takes only so many connections at a time",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
    deed="while its connections were limited",
    example={"maxConnections": 10},
)

"""bandwidth: a proxy relays no more than so many bytes a second."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.proxied import ConnectionFaultParameters, Direction


class BandwidthParameters(ConnectionFaultParameters):
    """Limits how fast data flows through a proxy."""

    kilobytes_per_second: Annotated[float, Field(gt=0, le=limits.TRAFFIC_BYTES / 1000, allow_inf_nan=False)] = Field(
        description="The limit, in kilobytes (1000 bytes) a second, for each direction by itself."
    )
    shared_by: Literal["connection", "proxy"] = Field(
        default="connection",
        description="connection (the default): each has the limit for itself; proxy: all connections of the proxy "
        "share it, as a link.",
    )
    direction: Direction = Field(
        default="downstream", description="Which data is limited: downstream (the default), upstream, or both."
    )


FAULT = FaultType(
    type="bandwidth",
    kind="continuous",
    parameters=BandwidthParameters,
    summary="data through a proxy flows no faster than a limit",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
    deed="while its bandwidth was limited",
    example={"kilobytesPerSecond": 50.0},
)

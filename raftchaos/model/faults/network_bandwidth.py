"""network_bandwidth: the link between the node and other hosts is slow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.network import Direction, NetworkParameters


class NetworkBandwidthParameters(NetworkParameters):
    """Outgoing packets wait their turn in a queue; of incoming ones those beyond the rate are dropped."""

    kilobytes_per_second: Annotated[float, Field(ge=1, le=limits.FAULT_RATE_KB, allow_inf_nan=False)] = Field(
        default=64.0,
        description="The rate of each interface and direction, all headers counted, in kilobytes (1000 bytes) a "
        "second, 1 to 10000000; default 64.",
    )
    direction: Direction = Field(
        default="both",
        description="Which packets are slowed: both (the default), incoming (to this node), or outgoing (to the "
        "hosts).",
    )


FAULT = FaultType(
    type="network_bandwidth",
    kind="continuous",
    parameters=NetworkBandwidthParameters,
    summary="the link to and from hosts carries no more than so many bytes a second",
    needs=("netAdmin", "nftables", "trafficControl"),
    protocol=None,
    recovery_seconds=1.4,
    deed="while its link was slow",
    example={"ports": 5432, "kilobytesPerSecond": 64},
)

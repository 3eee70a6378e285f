"""packet_loss: part of the packets between the node and other hosts vanish."""

from __future__ import annotations

from pydantic import Field

from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.network import Direction, NetworkParameters, NetworkPercent


class PacketLossParameters(NetworkParameters):
    """Each packet is lost by chance, whatever became of those before it."""

    percent: NetworkPercent = Field(
        default=10.0, description="Part of the packets that vanish, above 0, at most 100; default 10."
    )
    direction: Direction = Field(
        default="both",
        description="Which packets are lost: both (the default), incoming (to this node), or outgoing (to the hosts).",
    )


FAULT = FaultType(
    type="packet_loss",
    kind="continuous",
    parameters=PacketLossParameters,
    summary="part of the packets to and from hosts vanish",
    needs=("netAdmin", "nftables"),
    protocol=None,
    recovery_seconds=1.0,
    deed="while it lost packets",
    example={"hosts": "10.1.0.0/16", "percent": 10},
)

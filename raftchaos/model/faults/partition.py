"""partition: the node and other hosts do not hear each other any more."""

from __future__ import annotations

from pydantic import Field

from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.network import Direction, NetworkParameters


class PartitionParameters(NetworkParameters):
    """Packets vanish without a word, as in a network that is cut."""

    direction: Direction = Field(
        default="both",
        description="Which packets vanish: both (the default), incoming (to this node), or outgoing (to the hosts).",
    )


FAULT = FaultType(
    type="partition",
    kind="continuous",
    parameters=PartitionParameters,
    summary="packets to and from hosts vanish, both ways or one",
    needs=("netAdmin", "nftables"),
    protocol=None,
    recovery_seconds=1.0,
    deed="while it was cut off",
    example={"hosts": "10.1.0.0/16"},
)

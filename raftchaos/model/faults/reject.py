"""reject: what the node and other hosts send each other is refused, and the sender is told."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.network import Direction, NetworkParameters


class RejectParameters(NetworkParameters):
    """Senders get an answer at once, as of a closed port or a firewall."""

    answer: Literal["tcpReset", "portUnreachable", "hostUnreachable", "adminProhibited"] = Field(
        default="tcpReset",
        description="What the sender gets: tcpReset (the default; TCP only), or one of the ICMP messages "
        "portUnreachable, hostUnreachable and adminProhibited. TCP of this node heeds those when it sends again, after "
        "a second; its UDP senders are told that they may not send (EPERM).",
    )
    direction: Direction = Field(
        default="both",
        description="Whose packets are refused: both (the default), incoming (those of the hosts), or outgoing (those "
        "of this node).",
    )

    @model_validator(mode="after")
    def _reset_is_of_tcp(self) -> Self:
        if self.answer == "tcpReset" and self.protocol not in (None, "tcp"):
            raise PydanticCustomError("rule", "an ICMP answer such as portUnreachable, since tcpReset is of TCP only")
        return self


FAULT = FaultType(
    type="reject",
    kind="continuous",
    parameters=RejectParameters,
    summary="packets to and from hosts are refused with a TCP reset or an ICMP message",
    needs=("netAdmin", "nftables"),
    protocol=None,
    recovery_seconds=1.0,
    deed="while it refused packets",
    example={"ports": 5432},
)

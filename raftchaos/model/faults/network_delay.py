"""network_delay: what the node sends arrives later, twice, out of order or damaged."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos.model.faults.base import FaultType, Milliseconds
from raftchaos.model.faults.network import NetworkParameters

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class NetworkDelayParameters(NetworkParameters):
    """Touches outgoing packets, by the kernel's netem."""

    delay_ms: Milliseconds = Field(
        default=100.0, description="How much later packets leave, in milliseconds, 0 to 600000; default 100."
    )
    jitter_ms: Milliseconds = Field(
        default=0.0,
        description="Each delay is drawn evenly from delayMs - jitterMs to delayMs + jitterMs, so that packets may "
        "overtake each other; in milliseconds, 0 to 600000; default 0.",
    )
    duplicate_percent: Percent = Field(
        default=0.0,
        description="Part of the packets that leave twice; default 0. Beside a network_bandwidth on the same "
        "interface packets of both are then only slowed.",
    )
    reorder_percent: Percent = Field(
        default=0.0, description="Part of the packets that leave without the delay, before earlier ones; default 0."
    )
    corrupt_percent: Percent = Field(
        default=0.0, description="Part of the packets in which one bit is flipped; default 0."
    )

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.delay_ms or self.jitter_ms or self.duplicate_percent or self.corrupt_percent):
            raise PydanticCustomError("rule", "a delay, a jitter, duplicates or damage, or nothing would happen")
        if self.reorder_percent and not self.delay_ms:
            raise PydanticCustomError("rule", "delayMs above 0 beside reorderPercent: what is not delayed is in order")
        return self


FAULT = FaultType(
    type="network_delay",
    kind="continuous",
    parameters=NetworkDelayParameters,
    summary="packets to hosts leave later, with jitter, twice, out of order or damaged",
    needs=("netAdmin", "nftables", "netem"),
    protocol=None,
    recovery_seconds=1.4,
    deed="while its packets were late",
    example={"ports": 5432, "delayMs": 100},
)

"""corrupt: bytes that flow through a proxy arrive changed, or not at all."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultType, Probability
from raftchaos.model.faults.proxied import ConnectionFaultParameters, Direction


class CorruptParameters(ConnectionFaultParameters):
    """Damages the data that flows through a proxy, whatever it is."""

    mode: Literal["bitFlips", "randomBytes", "truncation"] = Field(
        default="bitFlips",
        description="bitFlips (the default): one bit of a byte is turned; randomBytes: a byte becomes another; "
        "truncation: of a burst only the first half arrives.",
    )
    rate: Probability = Field(
        default=0.001,
        description="Part of the bytes that are damaged, 0 to 0.1; of the bursts (truncation) 0 to 1; default 0.001.",
    )
    direction: Direction = Field(
        default="downstream", description="Which data is damaged: downstream (the default), upstream, or both."
    )

    @model_validator(mode="after")
    def _leaves_most_whole(self) -> Self:
        if self.mode != "truncation" and self.rate > limits.DAMAGE:
            raise PydanticCustomError("rule", "a rate of at most 0.1, unless mode is truncation")
        return self


FAULT = FaultType(
    type="corrupt",
    kind="continuous",
    parameters=CorruptParameters,
    summary="data through a proxy arrives damaged",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
    deed="while its data was damaged",
    example={"rate": 0.01},
)

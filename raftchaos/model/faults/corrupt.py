"""corrupt: bytes that flow through a proxy arrive changed, or not at all."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

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
        default=0.001, description="Part of the bytes (truncation: of the bursts) that are damaged; default 0.001."
    )
    direction: Direction = Field(
        default="downstream", description="Which data is damaged: downstream (the default), upstream, or both."
    )


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

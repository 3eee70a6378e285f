"""latency: the data that a proxy relays arrives later."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos.model.faults.base import FaultType, Milliseconds, Probability, ProxyFaultParameters


class LatencyParameters(ProxyFaultParameters):
    """Delays the data that flows through a proxy."""

    latency_ms: Milliseconds = Field(default=100.0, description="Delay in milliseconds, 0 to 600000; default 100.")
    jitter_ms: Milliseconds = Field(
        default=0.0,
        description="Each delay is drawn evenly from latencyMs - jitterMs to latencyMs + jitterMs and is never below "
        "zero; in milliseconds, 0 to 600000; default 0.",
    )
    direction: Literal["downstream", "upstream", "both"] = Field(
        default="downstream",
        description="Which data is delayed: downstream (answers of the service, the default), upstream (requests to "
        "it), or both.",
    )
    probability: Probability = Field(
        default=1.0, description="Part of the connections that are touched, above 0, at most 1; default 1."
    )

    @model_validator(mode="after")
    def _delays_something(self) -> Self:
        if self.latency_ms == 0 and self.jitter_ms == 0:
            raise PydanticCustomError("rule", "latencyMs or jitterMs above 0, or nothing would be delayed")
        return self


FAULT = FaultType(
    type="latency",
    kind="continuous",
    parameters=LatencyParameters,
    summary="data through a proxy arrives later, with jitter if wanted",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
)

"""latency: the data that a proxy relays arrives later."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultType, Milliseconds
from raftchaos.model.faults.proxied import Direction, EitherFaultParameters, Part, Percent


class Quantile(Part):
    """A point of a measured distribution."""

    percent: Percent = Field(description="So many percent of the measured delays were at most latencyMs.")
    latency_ms: Milliseconds = Field(description="Milliseconds, 0 to 600000.")


def _rising(points: list[Quantile]) -> list[Quantile]:
    for before, after in itertools.pairwise(points):
        if after.percent <= before.percent or after.latency_ms < before.latency_ms:
            raise PydanticCustomError("rule", "quantiles with rising percents and latencies that do not fall")
    return points


class LatencyParameters(EitherFaultParameters):
    """Delays the data that flows through a proxy; with a matcher of HTTP only the requests and responses that match."""

    latency_ms: Milliseconds = Field(
        default=100.0, description="Delay in milliseconds, 0 to 600000; the mean of those that are drawn; default 100."
    )
    jitter_ms: Milliseconds = Field(
        default=0.0,
        description="How much the delays differ: by at most so much from latencyMs (uniform), or their standard "
        "deviation (normal, pareto), never below zero; in milliseconds, 0 to 600000; default 0.",
    )
    distribution: Literal["uniform", "normal", "pareto"] = Field(
        default="uniform",
        description="How delays are drawn: uniform (the default), normal, or pareto: most a little shorter, few very "
        "long, as on a busy network.",
    )
    quantiles: (
        Annotated[list[Quantile], Field(min_length=1, max_length=limits.QUANTILES), AfterValidator(_rising)] | None
    ) = Field(
        default=None,
        description="Delays as they were measured, in place of latencyMs, jitterMs and distribution: a list of "
        "{percent, latencyMs}, as of p50 and p99; between two of them delays are drawn evenly.",
    )
    direction: Direction = Field(
        default="downstream",
        description="Which data is delayed: downstream (answers of the service, the default), upstream (requests to "
        "it), or both.",
    )

    @model_validator(mode="after")
    def _delays_something(self) -> Self:
        if self.quantiles is not None:
            if self.model_fields_set & {"latency_ms", "jitter_ms", "distribution"} and not self._as_completed():
                raise PydanticCustomError("rule", "quantiles, or latencyMs, jitterMs and distribution, not both")
        elif self.latency_ms == 0 and self.jitter_ms == 0:
            raise PydanticCustomError("rule", "latencyMs or jitterMs above 0, or nothing would be delayed")
        return self

    @classmethod
    def merged(cls, defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
        """A step that gives the delays, in either way, takes the place of those of the scenario."""
        ways = ({"quantiles"}, {"latencyMs", "jitterMs", "distribution"})
        for way, other in (ways, ways[::-1]):
            if way & overrides.keys():
                defaults = {key: value for key, value in defaults.items() if key not in other}
        return {**defaults, **overrides}

    def _as_completed(self) -> bool:
        """All parameters are given, these with their defaults: a step that was filled in before."""
        return (self.latency_ms, self.jitter_ms, self.distribution) == (100.0, 0.0, "uniform")


FAULT = FaultType(
    type="latency",
    kind="continuous",
    parameters=LatencyParameters,
    summary="data through a proxy arrives later, by a fixed time or by a distribution",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
    deed="while it was slowed",
    example={"latencyMs": 300.0},
)

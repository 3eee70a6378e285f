"""What every fault says about itself, and what the parameters of all faults have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from raftchaos import limits
from raftchaos.model.faults.rhythm import Every, Pulse


class Parameters(BaseModel):
    """Parameters of any fault, in camelCase with the unit in the name. Nothing is converted: "5" is no number."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)

    @classmethod
    def merged(cls, defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a scenario with those of a step over them, both by their names in documents."""
        return {**defaults, **overrides}

    @classmethod
    def field_names(cls) -> list[str]:
        """The names that documents use: the fault's own in the order of the class, then those that all faults have."""
        names = [field.alias or name for name, field in cls.model_fields.items()]
        return sorted(names, key=lambda name: name in SHARED)

    def complete(self) -> dict[str, Any]:
        """All parameters with their defaults, as plain data; what is absent has no value at all."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class FaultParameters(Parameters):
    """Parameters of a continuous fault."""

    pulse: Pulse | None = Field(
        default=None,
        description="Lets the fault come and go: {activeSeconds, dormantSeconds, initialDelaySeconds}; absent: it is "
        "on all the time.",
    )


class OneShotParameters(Parameters):
    """Parameters of a one-shot fault."""

    every: Every | None = Field(
        default=None,
        description="Does it again as long as the step lasts: {seconds} for a fixed interval, {meanSeconds} for random "
        "ones; absent: it is done once, and the step has ended.",
    )


SHARED: Final = ("pulse", "every")
"""Parameters that say when a fault is on, not what it does."""

ParametersClass = type[Parameters]


@dataclass(frozen=True, slots=True)
class FaultType:
    """An entry of the catalogue.

    `kind` is "continuous" (has an undo, lives on a lease; its parameters are a `FaultParameters`) or "oneShot" (no undo
    and no lease; an `OneShotParameters`). `needs` are names of `faults.needs`. `protocol` is what the proxied bytes
    must be, if the fault is done by a proxy. `recovery_seconds` is how long the recovery takes at most; with the
    lateness of `limits` it fits into `limits.REVERT`. `deed` ends the sentence "no request reached proxy payments
    while it was slowed". `example` are the fewest parameters that make sense, by their names in documents.
    """

    type: str
    kind: Literal["continuous", "oneShot"]
    parameters: ParametersClass
    summary: str
    needs: tuple[str, ...]
    protocol: Literal["tcp", "http"] | None
    recovery_seconds: float
    deed: str = "under the fault"
    example: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = OneShotParameters if self.kind == "oneShot" else FaultParameters
        if not issubclass(self.parameters, expected):
            raise TypeError(f"the parameters of the {self.kind} fault {self.type} are no {expected.__name__}")


Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A chance from 0 (never) to 1 (always)."""

Milliseconds = Annotated[float, Field(ge=0, le=limits.FAULT_DELAY_MS, allow_inf_nan=False)]
"""A span of time in milliseconds, from 0 to ten minutes."""

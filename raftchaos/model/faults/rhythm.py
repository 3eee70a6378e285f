"""When a fault is on within its step: pulses of a continuous fault, repetitions of a one-shot fault."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from raftchaos import limits

Span = Annotated[float, Field(ge=limits.RHYTHM_SHORTEST, le=limits.STEP_DURATION, allow_inf_nan=False)]
"""Seconds, from a tenth to a day."""


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class Pulse(_Part):
    """A continuous fault that comes and goes: constant errors are what clients give up on, flapping finds retry storms.

    It is one run with one undo record; the run is active as long as its step says, dormant or not.
    """

    active_seconds: Span = Field(description="How long the fault is on each time, in seconds, 0.1 to a day.")
    dormant_seconds: Span = Field(description="How long it is off in between, in seconds, 0.1 to a day.")
    initial_delay_seconds: Annotated[float, Field(ge=0, le=limits.STEP_DURATION, allow_inf_nan=False)] = Field(
        default=0.0, description="How long the run is active before the fault is on for the first time; default 0."
    )


class Every(_Part):
    """A one-shot fault that is done again and again as long as its step lasts, the first time at once."""

    seconds: Span | None = Field(default=None, description="A fixed interval, in seconds, 0.1 to a day.")
    mean_seconds: Span | None = Field(
        default=None,
        description="Intervals drawn at random with this mean (a Poisson process of the task's seed), in seconds, 0.1 "
        "to a day.",
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        if (self.seconds is None) is (self.mean_seconds is None):
            raise PydanticCustomError("rule", "either seconds (a fixed interval) or meanSeconds (random intervals)")
        return self

"""steps: what an orchestration does, one after another."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from raftchaos import limits
from raftchaos.model.names import StepName
from raftchaos.model.parts import Delay, DocumentPart, Duration, not_yet


class Step(DocumentPart):
    """One step. Its parameters are checked with the faults of its scenario, when that is looked up."""

    name: StepName = Field(description="Name of the step, unique in the orchestration.")
    scenario: str = Field(
        min_length=1, description="A fault type, a built-in scenario, or the name of a ChaosScenario."
    )
    duration_seconds: Duration = Field(
        default=limits.STEP_DURATION_DEFAULT,
        description="How long the faults last, in seconds, above 0, at most a day; default 60.",
    )
    delay_before_seconds: Delay = Field(
        default=0.0, description="How long the step waits before its faults start, in seconds; default 0."
    )
    continue_on_failure: bool = Field(
        default=False, description="Whether the next step starts although this one failed; default false."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        max_length=limits.STEP_PARAMETERS,
        description="Parameters of the faults, in place of those of the scenario.",
    )
    retries: Annotated[int, Field(ge=0, le=limits.STEP_RETRIES)] = Field(
        default=1,
        description="In the mode leaderAssigned: how many new attempts on other nodes follow the loss of a node; "
        "default 1.",
    )
    when: Annotated[str | None, not_yet(None)] = Field(
        default=None, description="An expression; the step is skipped where it is false."
    )

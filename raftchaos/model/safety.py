"""safety: how far an orchestration may go."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from raftchaos import limits
from raftchaos.model.names import unique
from raftchaos.model.parts import DocumentPart, NodeCount, Percent, not_yet
from raftchaos.model.resolved import SafetyLimits

SELF_HARM: Final = "selfHarm"
"""The net that refuses faults which would cut a peer off from its own cluster or from loopback, or name nothing."""


class Safety(DocumentPart):
    """Limits that hold whatever the steps say."""

    max_nodes: NodeCount | None = Field(default=None, description="Most nodes that are under faults at once.")
    max_percent: Percent | None = Field(
        default=None,
        description="Part of the active nodes that may be under faults at once, 1 to 100, rounded down, at least 1.",
    )
    abort_on_health_below: Annotated[float | None, not_yet(None)] = Field(
        default=None, description="The task is aborted when the health of a target falls below this, 0 to 100."
    )
    deadline_seconds: Annotated[float, Field(gt=0, le=limits.DEADLINE, allow_inf_nan=False)] = Field(
        default=limits.DEADLINE_DEFAULT,
        description="The task is ended and recovered when it has not ended by then, in seconds; at most a week, "
        "default 3600.",
    )
    disarm: Annotated[list[Literal["selfHarm"]], AfterValidator(unique)] = Field(
        default_factory=list,
        description="Nets that this experiment does without: selfHarm (refuses faults that would cut a peer off from "
        "its own cluster or from loopback, and those that name neither a host nor a port).",
    )

    def bounds(self) -> SafetyLimits:
        """As the decisions read it."""
        return SafetyLimits(self.max_nodes, self.max_percent)

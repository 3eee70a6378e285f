"""safety: how far an orchestration may go."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raftchaos import limits
from raftchaos.model.parts import DocumentPart, NodeCount, Percent, not_yet
from raftchaos.model.resolved import SafetyLimits


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

    def bounds(self) -> SafetyLimits:
        """As the decisions read it."""
        return SafetyLimits(self.max_nodes, self.max_percent)

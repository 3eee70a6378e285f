"""targetNodes: which nodes an orchestration runs on."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.names import Label, Name, unique
from raftchaos.model.parts import DocumentPart, NodeCount, Percent
from raftchaos.model.resolved import TargetRule


class TargetNodes(DocumentPart):
    """The nodes of `names`, those with the labels of `selector`, or all active ones; then `count` or `percent`."""

    names: Annotated[list[Name], AfterValidator(unique)] | None = Field(
        default=None, min_length=1, max_length=limits.NODES, description="Names of nodes."
    )
    selector: dict[Label, Label] | None = Field(
        default=None, max_length=limits.LABELS, description="Labels that a node must have, all of them."
    )
    count: NodeCount | None = Field(
        default=None, description="This many of those nodes; in the mode peerToPeer how many take each step."
    )
    percent: Percent | None = Field(
        default=None, description="This part of those nodes, 1 to 100, rounded up, at least one."
    )
    on_no_targets: Literal["fail", "skip"] = Field(
        default="fail", description="What becomes of the task if no node is left: fail (the default) or skip."
    )

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if self.names is not None and self.selector is not None:
            raise PydanticCustomError("rule", "names or selector, not both")
        if self.count is not None and self.percent is not None:
            raise PydanticCustomError("rule", "count or percent, not both")
        return self

    def rule(self) -> TargetRule:
        """As the decisions read it."""
        return TargetRule(tuple(self.names or ()), dict(self.selector or {}), self.count, self.percent)


class TargetService(DocumentPart):
    """A service of Kubernetes that an orchestration is about."""

    name: str = Field(description="Name of the service.")
    namespace: str = Field(default="default", description="Its namespace.")
    selector: dict[str, str] = Field(default_factory=dict, description="Labels of its pods, in place of its own.")

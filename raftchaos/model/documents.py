"""The two documents that people write: ChaosOrchestration and ChaosScenario.

The same classes give the checks, the messages and the schemas. To read text or foreign data use `model.loading`: it
finds all problems at once and says where they are.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from raftchaos import limits
from raftchaos.model.names import Name
from raftchaos.model.parts import Description, DocumentPart, not_yet
from raftchaos.model.resolved import SEED_MAX
from raftchaos.model.safety import Safety
from raftchaos.model.steps import Step
from raftchaos.model.targets import TargetNodes, TargetService

API_VERSION: Final = "raftchaos.io/v1"


class Metadata(DocumentPart):
    """Who the document is."""

    name: Name = Field(description="Name of the document: lower-case letters, digits and inner hyphens.")
    namespace: Annotated[str | None, not_yet(None)] = Field(default=None, description="Namespace, in Kubernetes.")
    labels: Annotated[dict[str, str], not_yet({})] = Field(default_factory=dict, description="Labels, in Kubernetes.")
    annotations: Annotated[dict[str, str], not_yet({})] = Field(
        default_factory=dict, description="Annotations, in Kubernetes."
    )


class OrchestrationSpec(DocumentPart):
    """What is done, where, and how far it may go."""

    description: Description = Field(default="", description="What the experiment asks, for people.")
    coordination_mode: Literal["parallel", "sequential", "leaderAssigned", "peerToPeer"] = Field(
        default="parallel",
        description="parallel: all targets run a step together; sequential: one target after another runs all steps; "
        "leaderAssigned: each step is given to the least loaded target; peerToPeer: targets take the steps themselves.",
    )
    target_nodes: TargetNodes = Field(default_factory=TargetNodes, description="Which nodes; default: all active ones.")
    variables: Annotated[dict[str, Any], not_yet({})] = Field(
        default_factory=dict, description="Values for templates in parameters."
    )
    steady_state: Annotated[list[dict[str, Any]], not_yet([])] = Field(
        default_factory=list, description="Probes that must hold; a breach aborts the task."
    )
    steps: list[Step] = Field(min_length=1, max_length=limits.STEPS, description="What is done, one after another.")
    hooks: Annotated[list[dict[str, Any]], not_yet([])] = Field(
        default_factory=list, description="Actions before and after the orchestration and its steps."
    )
    assertions: Annotated[list[dict[str, Any]], not_yet([])] = Field(
        default_factory=list, description="What must be true at the end for the task to pass."
    )
    safety: Safety = Field(default_factory=Safety, description="How far it may go.")
    schedule: Annotated[str | None, not_yet(None)] = Field(default=None, description="When to run, as a cron line.")
    concurrency_policy: Annotated[Literal["Forbid", "Allow", "Replace"], not_yet("Forbid")] = Field(
        default="Forbid", description="What happens if a scheduled task is due while the one before still runs."
    )
    max_iterations: Annotated[int, not_yet(1)] = Field(default=1, description="How often the steps are run through.")
    seed: Annotated[int, Field(ge=0, le=SEED_MAX)] | None = Field(
        default=None, description="Where every random choice comes from; default: a hash of the document's name."
    )
    steps_in_parallel: Annotated[bool, not_yet(False)] = Field(
        default=False, description="Whether the steps run side by side instead of one after another."
    )
    enable_reporting: Annotated[bool, not_yet(True)] = Field(
        default=True, description="Whether a report is written at the end."
    )
    target_services: Annotated[list[TargetService], not_yet([])] = Field(
        default_factory=list, description="Services of Kubernetes that the orchestration is about."
    )


class ChaosOrchestration(DocumentPart):
    """An experiment: steps, and the nodes that they are done on."""

    api_version: Literal["raftchaos.io/v1"] = Field(description="Version of the language: raftchaos.io/v1.")
    kind: Literal["ChaosOrchestration"] = Field(description="What the document is.")
    metadata: Metadata = Field(description="Who the document is.")
    spec: OrchestrationSpec = Field(description="What it says.")


class ScenarioFault(DocumentPart):
    """One fault of a scenario. Its parameters are checked with the fault of this type."""

    type: str = Field(min_length=1, description="A fault type, see `raftchaos fault types`.")
    parameters: dict[str, Any] = Field(
        default_factory=dict, max_length=limits.STEP_PARAMETERS, description="Parameters of the fault."
    )


class ScenarioSpec(DocumentPart):
    """Faults that are done together."""

    description: Description = Field(default="", description="What the scenario is like, for people.")
    faults: list[ScenarioFault] = Field(
        min_length=1, max_length=limits.SCENARIO_FAULTS, description="The faults, each with its parameters."
    )


class ChaosScenario(DocumentPart):
    """Named faults with default parameters, for the steps of orchestrations."""

    api_version: Literal["raftchaos.io/v1"] = Field(description="Version of the language: raftchaos.io/v1.")
    kind: Literal["ChaosScenario"] = Field(description="What the document is.")
    metadata: Metadata = Field(description="Who the document is.")
    spec: ScenarioSpec = Field(description="What it says.")


DOCUMENT_KINDS: Final[dict[str, type[ChaosOrchestration] | type[ChaosScenario]]] = {
    "ChaosOrchestration": ChaosOrchestration,
    "ChaosScenario": ChaosScenario,
}
"""The class of each kind."""

"""The checks of documents: first the form of each, then what their steps and scenarios mean together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from raftchaos.model.documents import API_VERSION, DOCUMENT_KINDS, ChaosOrchestration, ChaosScenario
from raftchaos.model.faults import FAULTS
from raftchaos.model.messages import translate
from raftchaos.model.problems import Origin, Path, Problems, choices, shown
from raftchaos.model.resolved import (
    CoordinationMode,
    OnNoTargets,
    ResolvedFault,
    ResolvedOrchestration,
    ResolvedStep,
    seed_of_name,
)
from raftchaos.model.scenario_use import Scenarios, Use, scenario_faults, step_faults


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a known kind: its data as it was written, where, and its model (None if its form is wrong)."""

    kind: str
    name: str
    data: Mapping[str, Any]
    origin: Origin
    model: ChaosOrchestration | ChaosScenario | None
    prefix: Path = ()


def check_form(data: object, origin: Origin, problems: Problems, prefix: Path = ()) -> Document | None:
    """One document by itself. None if nobody can tell what it is."""
    if not isinstance(data, Mapping):
        problems.add(origin, prefix, shown(data), "a mapping with apiVersion, kind, metadata and spec")
        return None
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in DOCUMENT_KINDS:
        found = shown(kind) if "kind" in data else "nothing"
        word = kind if isinstance(kind, str) else ""
        problems.add(origin, (*prefix, "kind"), found, choices(DOCUMENT_KINDS), word=word, known=DOCUMENT_KINDS)
        if data.get("apiVersion") != API_VERSION:
            found = shown(data["apiVersion"]) if "apiVersion" in data else "nothing"
            problems.add(origin, (*prefix, "apiVersion"), found, API_VERSION)
        return None
    model_class = DOCUMENT_KINDS[kind]
    model: ChaosOrchestration | ChaosScenario | None = None
    try:
        model = model_class.model_validate(dict(data))
    except ValidationError as error:
        translate(error, model_class, origin, prefix, problems)
    name = _inner(data, "metadata").get("name")
    return Document(kind, name if isinstance(name, str) else "", data, origin, model, prefix)


def check_together(documents: Sequence[Document], problems: Problems) -> list[ResolvedOrchestration]:
    """What the documents mean together: the orchestrations that have no problem, in their order."""
    _check_names(documents, problems)
    scenarios: dict[str, tuple[ResolvedFault, ...] | None] = {}
    for document in documents:
        if document.kind == "ChaosScenario":
            faults = _inner(document.data, "spec").get("faults")
            use = Use(document.origin, (*document.prefix, "spec", "faults"), problems)
            scenarios[document.name] = scenario_faults(use, faults) if isinstance(faults, list) else None
    resolved = [_orchestration(d, scenarios, problems) for d in documents if d.kind == "ChaosOrchestration"]
    return [orchestration for orchestration in resolved if orchestration is not None]


def scenarios_used(orchestration: Document, documents: Sequence[Document]) -> list[Document]:
    """The ChaosScenario documents that the steps of an orchestration name."""
    steps = _inner(orchestration.data, "spec").get("steps", [])
    named = {step.get("scenario") for step in steps if isinstance(step, Mapping)}
    return [document for document in documents if document.kind == "ChaosScenario" and document.name in named]


def _check_names(documents: Sequence[Document], problems: Problems) -> None:
    seen: dict[tuple[str, str], Document] = {}
    for document in documents:
        path = (*document.prefix, "metadata", "name")
        if document.kind == "ChaosScenario" and document.name in FAULTS:
            problems.add(
                document.origin, path, f"{document.name}, which is a fault type", "a name that no fault has"
            )  # fmt: skip
        first = seen.setdefault((document.kind, document.name), document)
        if first is not document and document.name:
            line = first.origin.line((*first.prefix, "metadata", "name"))
            where = first.origin.file if line is None else f"{first.origin.file}:{line}"
            problems.add(document.origin, path, f"{document.name} again (as in {where})", "each name once for a kind")


def _orchestration(document: Document, scenarios: Scenarios, problems: Problems) -> ResolvedOrchestration | None:
    before = len(problems.found)
    steps = _inner(document.data, "spec").get("steps")
    path = (*document.prefix, "spec", "steps")
    faults: list[tuple[ResolvedFault, ...] | None] = []
    first: dict[str, int] = {}
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if not isinstance(step, Mapping):
            continue
        faults.append(step_faults(Use(document.origin, (*path, index), problems), step, scenarios))
        name = step.get("name")
        if isinstance(name, str) and first.setdefault(name, index) != index:
            found = f"{shown(name)} again (as in steps[{first[name]}])"
            problems.add(document.origin, (*path, index, "name"), found, "each name of a step once")
    if not isinstance(document.model, ChaosOrchestration):
        return None
    if len(problems.found) > before or None in faults:
        return None
    resolved = _resolved(document.model, [known for known in faults if known is not None])
    _check_deadline(document, resolved, problems)
    return None if len(problems.found) > before else resolved


def _check_deadline(document: Document, resolved: ResolvedOrchestration, problems: Problems) -> None:
    """A task that cannot end before its deadline would only ever be cut off."""
    needed = sum(step.delay_before_seconds + step.lasts * step.duration_seconds for step in resolved.steps)
    deadline = resolved.deadline_seconds
    if needed > deadline:
        path = (*document.prefix, "spec", "safety", "deadlineSeconds")
        found = f"{deadline:g}, and steps that take {needed:g} seconds one after another"
        problems.add(document.origin, path, found, "a deadline that the steps fit into, or fewer or shorter steps")


def _resolved(model: ChaosOrchestration, faults: Sequence[tuple[ResolvedFault, ...]]) -> ResolvedOrchestration:
    spec = model.spec
    steps = tuple(
        ResolvedStep(
            name=step.name,
            scenario=step.scenario,
            faults=found,
            duration_seconds=step.duration_seconds,
            delay_before_seconds=step.delay_before_seconds,
            continue_on_failure=step.continue_on_failure,
            retries=step.retries,
            disarm=tuple(spec.safety.disarm),
        )
        for step, found in zip(spec.steps, faults, strict=True)
    )
    return ResolvedOrchestration(
        name=model.metadata.name,
        mode=CoordinationMode(spec.coordination_mode),
        targets=spec.target_nodes.rule(),
        steps=steps,
        limits=spec.safety.bounds(),
        deadline_seconds=spec.safety.deadline_seconds,
        seed=spec.seed if spec.seed is not None else seed_of_name(model.metadata.name),
        description=spec.description,
        on_no_targets=OnNoTargets(spec.target_nodes.on_no_targets),
    )


def _inner(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}

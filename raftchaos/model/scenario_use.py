"""What a step means: its scenario looked up, its parameters laid over those of the scenario, all of it checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from raftchaos.model.faults import FAULTS
from raftchaos.model.messages import translate
from raftchaos.model.problems import Origin, Path, Problems, choices, shown
from raftchaos.model.resolved import ResolvedFault
from raftchaos.model.scenarios import BUILT_IN

Scenarios = Mapping[str, tuple[ResolvedFault, ...] | None]
"""The scenarios of the files by name; None for one that has problems of its own, which are told where it stands."""


@dataclass(frozen=True, slots=True)
class Use:
    """A list of faults or a step in a document, and where problems with it are told."""

    origin: Origin
    path: Path
    problems: Problems


def scenario_faults(use: Use, faults: Sequence[object]) -> tuple[ResolvedFault, ...] | None:
    """The faults of a ChaosScenario, `use.path` being that of the list. None if any of them has a problem."""
    resolved: list[ResolvedFault] = []
    before = len(use.problems.found)
    for index, fault in enumerate(faults):
        if not isinstance(fault, Mapping) or not isinstance(fault.get("type"), str):
            continue  # told by the check of the document's form
        path = (*use.path, index)
        type_, parameters = fault["type"], fault.get("parameters", {})
        if type_ not in FAULTS:
            use.problems.add(
                use.origin, (*path, "type"), f"the unknown fault {shown_name(type_)}", choices(FAULTS),
                word=type_, known=FAULTS,
            )  # fmt: skip
        elif isinstance(parameters, Mapping):
            own = _without_templates(use, (*path, "parameters"), parameters)
            _unknown_parameters(use, (*path, "parameters"), own, [type_])
            known = {key: value for key, value in own.items() if key in FAULTS[type_].parameters.field_names()}
            if _validated(use, (*path, "parameters"), type_, known) is not None:
                # What the author wrote, without defaults, so that a step can still lay its own over it.
                resolved.append(ResolvedFault(type_, known))
    return tuple(resolved) if len(use.problems.found) == before and len(resolved) == len(faults) else None


def step_faults(use: Use, step: Mapping[str, Any], scenarios: Scenarios) -> tuple[ResolvedFault, ...] | None:
    """The faults of a step with complete parameters, `use.path` being that of the step. None if there is a problem."""
    name, parameters = step.get("scenario"), step.get("parameters", {})
    if not isinstance(name, str) or not name or not isinstance(parameters, Mapping):
        return None
    path = (*use.path, "parameters")
    before = len(use.problems.found)
    own = _without_templates(use, path, parameters)
    faults = _look_up(use, name, scenarios)
    if faults is None:
        return None
    _unknown_parameters(use, path, own, [fault.type for fault in faults])
    resolved: list[ResolvedFault] = []
    for fault in faults:
        model = FAULTS[fault.type].parameters
        mine = {key: value for key, value in own.items() if key in model.field_names()}
        complete = _validated(use, path, fault.type, model.merged(fault.parameters, mine))
        if complete is not None:
            resolved.append(ResolvedFault(fault.type, complete, FAULTS[fault.type].kind == "oneShot"))
    return tuple(resolved) if len(use.problems.found) == before else None


def _look_up(use: Use, name: str, scenarios: Scenarios) -> tuple[ResolvedFault, ...] | None:
    if name in FAULTS:
        return (ResolvedFault(name, {}),)
    if name in scenarios:
        return scenarios[name]
    if name in BUILT_IN:
        return BUILT_IN[name]
    known = [*FAULTS, *scenarios, *(built_in for built_in in BUILT_IN if built_in not in scenarios)]
    use.problems.add(
        use.origin, (*use.path, "scenario"), f"the unknown scenario {shown_name(name)}",
        f"a fault type, a built-in scenario or a ChaosScenario of the same files: {choices(known)}",
        word=name, known=known,
    )  # fmt: skip
    return None


def shown_name(name: str) -> str:
    """A name as messages show it, shortened."""
    return shown(name).removeprefix("the text ")


def _unknown_parameters(use: Use, path: Path, parameters: Mapping[str, Any], types: list[str]) -> None:
    known = list(dict.fromkeys(name for type_ in types for name in FAULTS[type_].parameters.field_names()))
    for key in parameters:
        if key not in known:
            what = f"an unknown parameter of {' and '.join(dict.fromkeys(types))}"
            use.problems.add(use.origin, (*path, key), what, choices(known), word=key, known=known)


def _validated(use: Use, path: Path, type_: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    model = FAULTS[type_].parameters
    try:
        return model.model_validate(dict(parameters)).complete()
    except ValidationError as error:
        translate(error, model, use.origin, path, use.problems)
        return None


def _without_templates(use: Use, path: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that need no rendering. Templates and references are part of the language, but not built yet."""
    plain: dict[str, Any] = {}
    for key, value in parameters.items():
        what = _needs_rendering(value)
        if what is not None:
            use.problems.add(use.origin, (*path, key), what, "a plain value (this is not supported yet)")
        else:
            plain[key] = value
    return plain


def _needs_rendering(value: object) -> str | None:
    if isinstance(value, str) and "{{" in value:
        return f"the template {shown_name(value)}"
    if isinstance(value, Mapping):
        if "valueFrom" in value:
            return "valueFrom"
        return next(filter(None, map(_needs_rendering, value.values())), None)
    if isinstance(value, list):
        return next(filter(None, map(_needs_rendering, value)), None)
    return None

"""The catalogue as plain data and as a page of the documentation, from the same classes that check documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from raftchaos.model.faults.base import SHARED, FaultType
from raftchaos.model.faults.rhythm import Every, Pulse
from raftchaos.model.messages import model_in

HEAD: Final = """# The faults

This page is printed from the catalogue (`python -m raftchaos.faults.page > docs/faults.md`); do not edit it.
`raftchaos fault types` shows the same, and whether a machine has what a fault needs.

A *continuous* fault lasts as long as its step, lives on its node's lease and is taken back whatever becomes of its
peer. A *oneShot* fault is done and over; it is never repeated by itself, also when nobody can tell whether it happened.

"""

RHYTHMS: Final[tuple[tuple[str, str, Any], ...]] = (
    ("pulse", "Every continuous fault takes a pulse: one run with one undo record, on and off again and again.", Pulse),
    ("every", "Every one-shot fault may repeat as long as its step lasts.", Every),
)


def as_data(fault: FaultType) -> dict[str, Any]:
    """An entry of the catalogue as plain data: its parameters with defaults and meanings, in their order."""
    fields = {field.alias or name: field for name, field in fault.parameters.model_fields.items()}
    return {
        "type": fault.type,
        "kind": fault.kind,
        "summary": fault.summary,
        "needs": list(fault.needs),
        "protocol": fault.protocol,
        "recoverySeconds": fault.recovery_seconds,
        "example": dict(fault.example),
        "parameters": [_parameter(name, fields[name]) for name in fault.parameters.field_names()],
    }


def nothing_touched(fault: FaultType | None, target: str) -> str:
    """In a sentence, that a fault touched nothing at its target (`<what>:<name>`). None is a fault of a plug-in."""
    where = target.replace(":", " ", 1)
    deed = "under the fault" if fault is None else fault.deed
    what = {"http": "request", "tcp": "traffic"}.get("" if fault is None else str(fault.protocol))
    return f"no {what} reached {where} {deed}" if what else f"nothing was touched at {where} {deed}"


def page(faults: Iterable[FaultType], meaning: Callable[[str], tuple[str, str]], scenarios: Mapping[str, str]) -> str:
    """The catalogue in Markdown. `meaning` gives what a need means and how to get it; `scenarios` are the built-in ones
    with what they are like."""
    known = list(faults)
    lines = [HEAD.rstrip("\n"), "", "| fault | kind | what it does |", "|---|---|---|"]
    lines += [f"| [{one.type}](#{one.type}) | {one.kind} | {_cell(one.summary)} |" for one in known]
    for name, what, model in RHYTHMS:
        lines += ["", f"## {name}", "", what, "", *_table(model.model_fields)]
    told: dict[type[BaseModel], str] = {}
    for one in known:
        lines += _section(one, meaning, told)
    lines += ["", "## Built-in scenarios", "", "| scenario | what it is like |", "|---|---|"]
    lines += [f"| {name} | {_cell(what)} |" for name, what in scenarios.items()]
    return "\n".join(lines) + "\n"


def _section(
    fault: FaultType, meaning: Callable[[str], tuple[str, str]], told: dict[type[BaseModel], str]
) -> list[str]:
    """`told` are the parts that stood on the page before, each under its fault."""
    lines = ["", f"## {fault.type}", "", f"{fault.summary[:1].upper()}{fault.summary[1:]} ({fault.kind}).", ""]
    for need in fault.needs:
        what, how = meaning(need)
        lines.append(f"- needs {what}: {how}")
    if fault.protocol:
        lines.append(f"- works on {fault.protocol} streams")
    own = {name: field for name, field in fault.parameters.model_fields.items() if (field.alias or name) not in SHARED}
    lines += ["", *_table(own)] if own else ["", "It has no parameters of its own."]
    for name, field in own.items():
        inner, word = model_in(field.annotation), field.alias or name
        if inner in told:
            lines += ["", f"What `{word}` holds stands under [{told[inner]}](#{told[inner]})."]
        elif inner is not None:
            told[inner] = fault.type
            lines += ["", f"What `{word}` holds:", "", *_table(inner.model_fields)]
    if fault.example:
        lines += ["", f"The fewest parameters that make sense: `{json.dumps(dict(fault.example))}`"]
    return lines


def _table(fields: Mapping[str, FieldInfo]) -> list[str]:
    rows = [_parameter(field.alias or name, field) for name, field in fields.items()]
    return [
        "| parameter | default | meaning |",
        "|---|---|---|",
        *(f"| {row['name']} | {_default(row)} | {_cell(row['description'])} |" for row in rows),
    ]


def _parameter(name: str, field: FieldInfo) -> dict[str, Any]:
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return {
        "name": name,
        "default": json.loads(json.dumps(default, default=_plain)),
        "required": field.is_required(),
        "description": field.description or "",
    }


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", by_alias=True, exclude_none=True) if dump is not None else str(value)


def _default(row: Mapping[str, Any]) -> str:
    if row["required"]:
        return "required"
    return "" if row["default"] is None else f"`{json.dumps(row['default'])}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

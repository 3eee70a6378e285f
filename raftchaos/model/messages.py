"""From pydantic's errors to ours: what was found, what was expected, and the field that was probably meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from raftchaos.model.problems import Origin, Path, Problems, choices, shown

_EXPECTED: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "string_type": lambda _: "text",
    "bool_type": lambda _: "true or false",
    "int_type": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "list_type": lambda _: "a list",
    "dict_type": lambda _: "a mapping",
    "model_type": lambda _: "a mapping",
    "greater_than": lambda c: f"a number above {_bound(c['gt'])}",
    "greater_than_equal": lambda c: f"a number of at least {_bound(c['ge'])}",
    "less_than": lambda c: f"a number below {_bound(c['lt'])}",
    "less_than_equal": lambda c: f"a number of at most {_bound(c['le'])}",
    "string_too_long": lambda c: f"at most {c['max_length']} characters",
    "string_too_short": lambda c: f"at least {c['min_length']} characters" if c["min_length"] > 1 else "some text",
    "too_long": lambda c: f"at most {c['max_length']} entries",
    "too_short": lambda c: "at least one entry" if c["min_length"] == 1 else f"at least {c['min_length']} entries",
}


def translate(error: ValidationError, model: type[BaseModel], origin: Origin, prefix: Path, problems: Problems) -> None:
    """Takes all errors of one validation of `model` at `prefix` of a document as problems."""
    for detail in error.errors(include_url=False):
        # A key of a mapping is told with "[key]" behind it: the place is that of the entry.
        path = (*prefix, *(part for part in detail["loc"] if part != "[key]"))
        kind, found = detail["type"], detail["input"]
        if kind == "extra_forbidden":
            fields = known_fields(model, detail["loc"][:-1])
            problems.add(origin, path, "an unknown field", choices(fields), word=str(detail["loc"][-1]), known=fields)
        elif kind == "missing":
            problems.add(origin, path, "nothing", f"this field ({_description(model, detail['loc'])})")
        elif kind == "literal_error":
            words = detail["ctx"]["expected"].replace("'", "")
            known = words.replace(" or ", ", ").split(", ")
            problems.add(origin, path, shown(found), words, word=found if isinstance(found, str) else "", known=known)
        else:
            problems.add(origin, path, _found(found), _expected(kind, found, detail.get("ctx", {}), detail["msg"]))


def known_fields(model: type[BaseModel], path: Path) -> list[str]:
    """The fields that a document may have at this path of the model, as documents write them."""
    inner = _model_at(model, path)
    return [] if inner is None else [field.alias or name for name, field in inner.model_fields.items()]


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    here: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int):
            continue
        field = next((f for name, f in here.model_fields.items() if part in (name, f.alias)), None) if here else None
        here = model_in(field.annotation) if field is not None else None
    return here


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as list[Step] or TargetNodes | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(model_in, get_args(annotation))), None)


def _description(model: type[BaseModel], path: Path) -> str:
    holder = _model_at(model, path[:-1])
    fields = holder.model_fields if holder else {}
    text = next((f.description for name, f in fields.items() if path[-1] in (name, f.alias)), None)
    return (text or "it is required").rstrip(".")


def _found(value: object) -> str:
    return shown(value.model_dump(by_alias=True)) if isinstance(value, BaseModel) else shown(value)


def _bound(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _expected(kind: str, found: object, context: Mapping[str, Any], message: str) -> str:
    if kind == "float_type" and isinstance(found, int) and not isinstance(found, bool):
        return "a smaller number"
    if kind == "string_type" and isinstance(found, int | float):
        return "text (in quotes)"
    rule = _EXPECTED.get(kind)
    return rule(context) if rule is not None else message

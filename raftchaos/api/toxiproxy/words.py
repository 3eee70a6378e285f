"""The errors of toxiproxy's API with the texts that its clients know, and the JSON that they send, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from raftchaos import limits
from raftchaos.errors import Conflict, NotFound, UsageError

Json = dict[str, Any]
DEPTH = 16  # of what is read: a list of proxies is three deep


def bad_body(problem: str) -> UsageError:
    """400: the body is none that can be taken."""
    return UsageError(f"bad request body: {problem}")


def missing(field: str) -> UsageError:
    """400: a field that must be there."""
    return UsageError(f"missing required field: {field}")


def invalid_stream() -> UsageError:
    """400: a stream of another name."""
    return UsageError("stream was invalid, can be either upstream or downstream")


def invalid_type() -> UsageError:
    """400: a toxic that does not exist."""
    return UsageError("invalid toxic type")


def no_proxy() -> NotFound:
    """404."""
    return NotFound("proxy not found")


def no_toxic() -> NotFound:
    """404."""
    return NotFound("toxic not found")


def proxy_exists() -> Conflict:
    """409."""
    return Conflict("proxy already exists")


def toxic_exists() -> Conflict:
    """409."""
    return Conflict("toxic already exists")


def parse(data: bytes) -> Any:
    """The JSON in a body. Raises `UsageError`."""
    if not data.strip():
        raise bad_body("found nothing, expected JSON")
    try:
        value = json.loads(data, parse_constant=_no_number)
    except RecursionError:
        raise bad_body(f"found JSON that nests deeper than {DEPTH} levels") from None
    except ValueError as error:
        raise bad_body(f"found no JSON: {str(error)[:150]}") from None
    if _deeper_than(value, DEPTH):
        raise bad_body(f"found JSON that nests deeper than {DEPTH} levels")
    return value


def fields_of(value: Any, what: str = "the body") -> Json:
    """The fields of an object as toxiproxy takes them: capitals make no difference, null is as if it were not said, and
    a field that nobody knows is passed over. Raises `UsageError`."""
    if not isinstance(value, dict):
        raise bad_body(f"{what} is no object, expected one as {{...}}")
    return {key.lower(): item for key, item in value.items() if item is not None}


def text_of(fields: Mapping[str, Any], name: str, default: str = "") -> str:
    """The text `name`. Raises `UsageError` for what is none."""
    value = fields.get(name, default)
    if not isinstance(value, str) or len(value) > limits.REASON:
        raise bad_body(f"{name} is {shown(value)}, expected a text of at most {limits.REASON} characters")
    return value


def flag_of(fields: Mapping[str, Any], name: str, default: bool) -> bool:
    """The truth value `name`. Raises `UsageError` for what is none."""
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise bad_body(f"{name} is {shown(value)}, expected true or false")
    return value


def shown(value: Any) -> str:
    """A value in an error, cut short."""
    return json.dumps(value)[:80]


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _deeper_than(value: Any, depth: int) -> bool:
    if depth < 0:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_deeper_than(item, depth - 1) for item in inner)

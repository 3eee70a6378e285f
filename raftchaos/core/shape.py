"""Whether values that came from outside have the types that their dataclass declares.

msgpack says nothing about the types of a command's fields, and dataclasses do not check them; `apply` and `restore`
do it here, once, so that the decisions can rely on the declared types.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

from raftchaos import limits

INTEGER: Final = 2**63 - 1
"""The largest integer that msgpack, JSON readers with 64 bits and databases all keep."""

Check = Callable[[Any], bool]


def problem(value: Any) -> str:
    """What is wrong with the fields of a dataclass instance; empty if nothing is."""
    for name, check in _checks_of(type(value)):
        if not check(getattr(value, name)):
            return f"found {_shown(getattr(value, name))} as {name!r} of {type(value).__name__}"
    return ""


def plain(value: Any, depth: int = limits.DOCUMENT_DEPTH) -> bool:
    """Whether a value is made of None, booleans, integers of 64 bits, finite floats, strings, lists and dicts with
    string keys only, at most `depth` levels deep."""
    if value is None or isinstance(value, bool | str):
        return True
    if isinstance(value, int | float):
        return _is_float(value)
    if depth <= 0:
        return False
    if isinstance(value, list | tuple):
        return all(plain(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(item, depth - 1) for key, item in value.items())
    return False


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) <= INTEGER else "a huge integer"
    return text if len(text) <= 60 else text[:59] + "…"


_CHECKS: dict[type, tuple[tuple[str, Check], ...]] = {}
"""What was derived from the annotations of a class, once."""


def _checks_of(cls: type) -> tuple[tuple[str, Check], ...]:
    known = _CHECKS.get(cls)
    if known is None:
        hints = typing.get_type_hints(cls)
        known = tuple((item.name, _check(hints[item.name])) for item in dataclasses.fields(cls))
        _CHECKS[cls] = known
    return known


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -INTEGER - 1 <= value <= INTEGER


def _is_float(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


_SIMPLE: dict[Any, Check] = {
    int: _is_int,
    float: _is_float,
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    bytes: lambda value: isinstance(value, bytes),
    type(None): lambda value: value is None,
    Any: plain,
}


def _check(hint: Any) -> Check:
    simple = _SIMPLE.get(hint)
    if simple is not None:
        return simple
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        either = [_check(item) for item in arguments]
        return lambda value: any(check(value) for check in either)
    if origin in (list, tuple):
        return _sequence(origin, arguments)
    if origin in (dict, Mapping):
        key, item = _check(arguments[0]), _check(arguments[1])
        return lambda value: isinstance(value, dict) and all(key(k) and item(v) for k, v in value.items())
    return _instance(hint)


def _sequence(origin: Any, arguments: tuple[Any, ...]) -> Check:
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        places = [_check(item) for item in arguments]
        # A pair arrives from msgpack as a list.
        return lambda value: (
            isinstance(value, list | tuple)
            and len(value) == len(places)
            and all(check(item) for check, item in zip(places, value, strict=True))
        )
    each = _check(arguments[0])
    return lambda value: isinstance(value, origin) and all(each(item) for item in value)


def _instance(hint: Any) -> Check:
    if dataclasses.is_dataclass(hint):
        return lambda value: isinstance(value, typing.cast(type, hint)) and not problem(value)
    if issubclass(hint, Enum):
        return lambda value: isinstance(value, hint)
    if issubclass(hint, tuple):  # a NamedTuple
        places = [_check(item) for item in typing.get_type_hints(hint).values()]
        return lambda value: (
            isinstance(value, hint) and all(check(item) for check, item in zip(places, value, strict=True))
        )
    raise TypeError(f"no check for {hint!r}")

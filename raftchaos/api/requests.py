"""What callers send, checked before it is believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any, NoReturn

from aiohttp import web

from raftchaos import limits
from raftchaos.core.admission import bad_task_id
from raftchaos.errors import UsageError
from raftchaos.model.names import NAME_RULE, is_name
from raftchaos.model.problems import nearest

BODY_DEPTH = limits.DOCUMENT_DEPTH + 4  # a document within its envelope


async def json_body(request: web.Request, known: Iterable[str], *, required: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON object in the body; no body is an empty one.

    Raises UsageError for what is no JSON object, a field that nobody knows, or a required one that is missing, and
    aiohttp's 413 for a body larger than `limits.HTTP_BODY`, and 408 for one that is not there in time.
    """
    try:
        async with asyncio.timeout(limits.HTTP_BODY_TIME):
            data = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    if data and request.content_type != "application/json":
        raise UsageError(
            f"found a body of type {request.content_type!r}, expected application/json",
            hint="send the header Content-Type: application/json",
        )
    body = _parse(data) if data else {}
    if not isinstance(body, dict):
        raise UsageError("found JSON that is no object in the body, expected an object")
    names = list(known)
    for key in body:
        if key not in names:
            meant = nearest(key, names)
            hint = f"did you mean {meant}?" if meant else f"known fields: {', '.join(names) or 'none'}"
            raise UsageError(f"found the unknown field {key[:60]!r} in the body", hint=hint)
    for key in required:
        if key not in body:
            raise UsageError(f"found no field {key!r} in the body, it is required")
    return body


def text_field(body: dict[str, Any], key: str, *, longest: int = limits.REASON, empty: bool = True) -> str:
    """A text in the body; absent is empty. Raises UsageError for anything else."""
    value = body.get(key, "")
    if not isinstance(value, str) or len(value) > longest or not (empty or value):
        least = "at least 1, " if not empty else ""
        raise UsageError(f"expected in the field {key!r} a text of {least}at most {longest} characters")
    return value


def flag_field(body: dict[str, Any], key: str) -> bool:
    """A truth value in the body; absent is false. Raises UsageError for anything else."""
    value = body.get(key, False)
    if not isinstance(value, bool):
        raise UsageError(f"expected true or false in the field {key!r}")
    return value


def name_field(body: dict[str, Any], key: str) -> str:
    """A name in the body. Raises UsageError for what is none."""
    value = text_field(body, key, longest=limits.NAME, empty=False)
    if not is_name(value):
        raise UsageError(f"found {value!r} in the field {key!r}, expected {NAME_RULE}")
    return value


def seconds_field(body: dict[str, Any], key: str, default: float, *, most: float) -> float:
    """A duration in the body. Raises UsageError for what is none."""
    value = body.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise UsageError(f"expected in the field {key!r} a number of seconds, at most {most:g}")
    return float(value)


def task_id(text: object) -> str:
    """The id of a task that a caller chose. Raises UsageError for what cannot be one."""
    if not isinstance(text, str):
        raise UsageError(f"found {type(text).__name__} as the id of a task, expected a text")
    wrong = bad_task_id(text)
    if wrong:
        raise UsageError(wrong)
    return text


def number_parameter(request: web.Request, key: str, default: int, *, least: int, most: int) -> int:
    """A whole number in the query. Raises UsageError for what is none or out of bounds."""
    text = request.query.get(key)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    raise UsageError(f"found {key}={text[:60]!r} in the query, expected a whole number from {least} to {most}")


def wants_strong(request: web.Request) -> bool:
    """Whether the caller asks for a linearizable read. Raises UsageError for an unknown consistency."""
    text = request.query.get("consistency", "local")
    if text not in ("local", "strong"):
        raise UsageError(f"found consistency={text[:60]!r}, expected local or strong")
    return text == "strong"


def _parse(data: bytes) -> Any:
    try:
        body = json.loads(data, parse_constant=_no_number)
    except RecursionError:
        raise UsageError(f"found JSON that nests deeper than {BODY_DEPTH} levels") from None
    except ValueError as error:
        raise UsageError(f"found a body that is no JSON: {error}"[:200]) from None
    if _deeper_than(body, BODY_DEPTH):
        raise UsageError(f"found JSON that nests deeper than {BODY_DEPTH} levels")
    if b"\\u" in data and not _is_text(body):
        raise UsageError("found half a surrogate pair in the body, which is no text", hint="send whole characters")
    return body


def _is_text(body: Any) -> bool:
    """Whether all texts in the data can be written as UTF-8; an escape of JSON can say half a character."""
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _deeper_than(data: Any, depth: int) -> bool:
    level = [data]
    for _ in range(depth):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True

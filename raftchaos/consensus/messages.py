"""Every message between peers, with its fields: nothing else is listened to."""

from __future__ import annotations

from typing import Any, Final

_VOTE: Final = {"term": int, "last_term": int, "last_index": int}
FIELDS: Final[dict[str, dict[str, type | tuple[type, ...]]]] = {
    "pre_vote": {**_VOTE, "round": int},
    "pre_vote_reply": {"term": int, "round": int, "granted": bool},
    "vote": {**_VOTE, "handed_over": bool},
    "vote_reply": {"term": int, "granted": bool},
    "append": {"term": int, "commit": int, "prev": int, "prev_term": int, "entries": (tuple, list), "round": int},
    "append_reply": {"term": int, "success": bool, "next": int, "conflict": int, "prev": int, "round": int},
    "heartbeat": {"term": int, "round": int},
    "heartbeat_reply": {"term": int, "round": int},
    "chunk": {"term": int, "key": tuple, "offset": int, "data": bytes, "last": bool, "round": int},
    "chunk_reply": {"term": int, "key": tuple, "want": int, "round": int},
    "timeout_now": {"term": int},
    "propose": {"id": str, "attempt": int, "command": bytes},
    "propose_refused": {"id": str, "attempt": int},
    "read_index": {"id": str},
    "read_index_reply": {"id": str, "index": (int, type(None))},
    "remove_me": {},
    "application": {"body": dict},
}


def check(message: Any) -> dict[str, Any]:
    """The message if it has one of the known shapes. Raises ValueError that says what is wrong."""
    if not isinstance(message, dict):
        raise ValueError(f"a message is a map, found a {type(message).__name__}")
    kind = message.get("type")
    fields = FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        raise ValueError(f"unknown type of message {str(kind)[:40]!r}")
    for name, wanted in fields.items():
        value = message.get(name)
        if not isinstance(value, wanted):
            raise ValueError(f"{name!r} of a message {kind!r} is a {type(value).__name__}")
        if isinstance(value, int) and value < 0 and name != "want":
            raise ValueError(f"{name!r} of a message {kind!r} is negative")
    if kind == "append":
        _check_entries(message["prev"], message["entries"])
    elif "key" in fields and (len(message["key"]) != 2 or not all(isinstance(each, int) for each in message["key"])):
        raise ValueError("a snapshot is named by index and term")
    return message


def _check_entries(prev: int, entries: Any) -> None:
    for entry in entries:
        if not isinstance(entry, tuple) or len(entry) != 3:
            raise ValueError("an entry is content, index and term")
        content, index, term = entry
        if not isinstance(content, bytes) or not content or not isinstance(term, int):
            raise ValueError("an entry is content, index and term")
        prev += 1
        if index != prev:
            raise ValueError(f"entry {index!r} stands where {prev} was expected")

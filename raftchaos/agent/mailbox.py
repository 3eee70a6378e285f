"""Sorts the application messages that arrive over the Raft connections by their type.

A message is a dict with a `type`. Whoever registers a type says which fields it must have; anything else is dropped
and counted. A peer of another release may add fields: they are passed on and ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from raftchaos.core.interfaces import ReplicatedLog

Handler = Callable[[str, dict[str, Any]], None]
"""Called with the name of the sending peer and the message. Must not block."""

UNREADABLE = "unreadable"
"""Counts messages that have no type, or a type that nobody registered."""

_LARGEST_NUMBER = 2**63 - 1
_LONGEST_TEXT = 4 * 1024
_LONGEST_LIST = 1_000


@dataclass(frozen=True, slots=True)
class _Box:
    fields: Mapping[str, type]
    handler: Handler


class Mailbox:
    """Where the parts of the agent receive messages. One object a peer: it takes the replica's only message handler."""

    def __init__(self, log: ReplicatedLog) -> None:
        self._boxes: dict[str, _Box] = {}
        self.received: Counter[str] = Counter()
        """Messages that were passed on, by type."""
        self.dropped: Counter[str] = Counter()
        """Messages that were dropped, by type; `UNREADABLE` for those without a known one."""
        log.on_message(self._on_message)

    def register(self, kind: str, fields: Mapping[str, type], handler: Handler) -> None:
        """From now on `handler` takes the messages of type `kind` that have all `fields`.

        A field's type is `int` (not negative, at most 64 bits), `str`, `bool` or `list` (of strings); texts and lists
        have bounds. Raises ValueError if the type is registered already, or a field has another type.
        """
        if kind in self._boxes:
            raise ValueError(f"messages of type {kind!r} have a handler already")
        unknown = sorted(name for name, expected in fields.items() if expected not in _CHECKS)
        if unknown:
            raise ValueError(f"found fields of {kind!r} that cannot be checked: {unknown}")
        self._boxes[kind] = _Box(dict(fields), handler)

    def drop(self, kind: str) -> None:
        """Counts a message that its handler could not use after all, such as one from a peer that may not send it."""
        self.dropped[kind] += 1

    def _on_message(self, sender: str, message: dict[str, Any]) -> None:
        kind = message.get("type") if isinstance(message, dict) else None
        box = self._boxes.get(kind) if isinstance(kind, str) else None
        if box is None or not isinstance(kind, str):
            self.dropped[UNREADABLE] += 1
        elif not all(_CHECKS[expected](message.get(name)) for name, expected in box.fields.items()):
            self.dropped[kind] += 1
        else:
            self.received[kind] += 1
            box.handler(sender, message)


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST_NUMBER


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) <= _LONGEST_LIST and all(map(_is_text, value))


_CHECKS: dict[type, Callable[[Any], bool]] = {
    int: _is_number,
    str: _is_text,
    bool: lambda value: isinstance(value, bool),
    list: _is_list_of_texts,
}

"""What stands in a log entry: PySyncObj's one byte of kind, and what follows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from raftchaos.consensus import codec

REGULAR: Final = b"\x00"
NOOP: Final = b"\x01"
MEMBERSHIP: Final = b"\x02"

LogEntry = tuple[bytes, int, int]
"""Content, index, term: the order is PySyncObj's."""


def encode_command(request_id: str, wall_ms: int, command: bytes) -> bytes:
    """A command with the wall clock of the leader that appends it."""
    return REGULAR + codec.dumps((request_id, wall_ms, command))


def decode_command(content: bytes) -> tuple[str, int, bytes] | None:
    """Request id, milliseconds and command; None for an entry that is Raft's own."""
    if content[:1] != REGULAR:
        return None
    request_id, wall_ms, command = codec.loads(memoryview(content)[1:])
    return str(request_id), int(wall_ms), bytes(command)


def encode_members(members: Mapping[str, str]) -> bytes:
    """A whole configuration, name to address.

    PySyncObj writes `add X` and `remove X`, which have to be undone one by one on truncation and mean different
    things to a peer that missed one. A whole configuration cannot be misread: the newest in the log counts.
    """
    return MEMBERSHIP + codec.dumps(dict(sorted(members.items())))


def decode_members(content: bytes) -> dict[str, str] | None:
    """The configuration in this entry, or None if it holds none. Raises ValueError if it is malformed."""
    if content[:1] != MEMBERSHIP:
        return None
    return check_members(codec.loads(memoryview(content)[1:]))


def check_members(value: object) -> dict[str, str]:
    """The value as names and addresses. Raises ValueError."""
    if not isinstance(value, dict) or not value:
        raise ValueError("a configuration names at least one peer")
    if not all(isinstance(name, str) and isinstance(address, str) for name, address in value.items()):
        raise ValueError("a configuration is names and addresses")
    return value

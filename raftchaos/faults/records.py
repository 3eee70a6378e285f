"""The records of the undo journal and how they stand in its file.

A file is `MAGIC` and then records: length and checksum of the length, checksum of the payload, payload (msgpack). The
length has a checksum of its own, so that a damaged length in the middle is not taken for the torn end of the file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import msgpack

MAGIC: Final = b"raftchaos undo 1\n"
_HEAD: Final = struct.Struct(">III")
_RECORD_MAX: Final = 4 * 1024 * 1024

Step = dict[str, Any]
"""One idempotent undo step as data: `do` names what is done, `fault` the index of the fault in its step."""
Effects = tuple[dict[str, int], ...]


@dataclass(frozen=True, slots=True)
class UndoRecord:
    """What has to be undone for one run, and whether it was."""

    run: str
    epoch: int
    """Epoch of the undo journal when it was opened."""
    kind: str
    """`continuous` or `oneShot`."""
    plan: tuple[Step, ...]
    """In the order of the injection; undone from the last to the first."""
    done: bool = False
    effects: Effects = ()
    """One per fault, once it is done."""
    by: str = ""
    """Who undid it: `main`, `reaper` or `command`."""
    holder: str = ""
    """The process for whose life it stands, as `PID START`; empty for a run, which stands under the node's lease."""


class Damaged(ValueError):
    """The bytes are no undo journal. Says where."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a file holds."""

    records: dict[str, UndoRecord]
    """The newest of each run, in the order in which they were opened."""
    end: int
    """Where the last whole record ends; what follows is the torn end of a write that never finished."""


def open_entry(record: UndoRecord) -> bytes:
    """The bytes that open a run."""
    return _frame({"t": "open", "run": record.run, "epoch": record.epoch, "kind": record.kind, "plan": record.plan,
                   "holder": record.holder})  # fmt: skip


def done_entry(run: str, effects: Effects, by: str) -> bytes:
    """The bytes that mark a run as done."""
    return _frame({"t": "done", "run": run, "effects": effects, "by": by})


def entries_of(record: UndoRecord) -> bytes:
    """The bytes that say the whole of a record."""
    opened = open_entry(record)
    return opened + done_entry(record.run, record.effects, record.by) if record.done else opened


def scan(data: bytes) -> Scan:
    """Read a whole file. Raises `Damaged` for anything but an incomplete last record."""
    if len(data) < len(MAGIC) and MAGIC.startswith(data.rstrip(b"\0")):
        return Scan({}, 0)
    if not data.startswith(MAGIC):
        raise Damaged("it does not begin as an undo journal does")
    records: dict[str, UndoRecord] = {}
    end = len(MAGIC)
    for end, entry in _entries(data):
        _take(records, entry, end)
    return Scan(records, end)


def _entries(data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    at = len(MAGIC)
    while at < len(data):
        if not any(data[at:]):  # the file grew, the bytes never arrived: a power cut
            return
        if at + _HEAD.size > len(data):
            return
        length, length_sum, payload_sum = _HEAD.unpack_from(data, at)
        if zlib.crc32(data[at : at + 4]) != length_sum or length > _RECORD_MAX:
            raise Damaged(f"the record at byte {at} has a damaged head")
        payload = data[at + _HEAD.size : at + _HEAD.size + length]
        end = at + _HEAD.size + length
        if len(payload) < length:
            return
        if zlib.crc32(payload) != payload_sum:
            if end == len(data) and _tail_never_arrived(payload):
                return
            raise Damaged(f"the record at byte {at} does not match its checksum")
        try:
            entry = msgpack.unpackb(payload)
        except (ValueError, msgpack.exceptions.UnpackException) as error:
            raise Damaged(f"the record at byte {at} is not msgpack: {error}") from None
        yield end, entry
        at = end


def _tail_never_arrived(payload: bytes) -> bool:
    """Whether the payload ends in a run of zeros that msgpack of ours never holds: blocks that were not written."""
    return payload.endswith(b"\0" * min(len(payload), 16))


def _take(records: dict[str, UndoRecord], entry: Any, end: int) -> None:
    try:
        run = entry["run"]
        if entry["t"] == "open":
            plan = tuple(dict(step) for step in entry["plan"])
            records[run] = UndoRecord(run, entry["epoch"], entry["kind"], plan, holder=entry.get("holder", ""))
        elif entry["t"] == "done":
            effects = tuple(dict(effect) for effect in entry["effects"])
            if run in records:  # a done entry whose run was forgotten says nothing any more
                records[run] = replace(records[run], done=True, effects=effects, by=entry["by"])
        else:
            raise Damaged(f"the record that ends at byte {end} is of the unknown kind {entry['t']!r}")
    except (KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"the record that ends at byte {end} lacks a field: {error}") from None


def _frame(entry: dict[str, Any]) -> bytes:
    payload: bytes = msgpack.packb(entry)
    length = struct.pack(">I", len(payload))
    return _HEAD.pack(len(payload), zlib.crc32(length), zlib.crc32(payload)) + payload

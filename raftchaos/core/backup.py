"""A backup: the cluster's state in one file that is believed only after every check."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import msgpack

from raftchaos import limits

MAGIC: Final = b"RCBACKUP"
VERSION: Final = 1
_HEAD: Final = struct.Struct("<8sIQ32s")  # magic, version, length and SHA-256 of the body
LARGEST: Final = limits.SNAPSHOT + 4 * 1024
"""Bytes of a backup, at most: the state, and what stands around it."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A consistent snapshot of the state, and where it came from."""

    cluster: str
    """Id of the cluster."""
    peer: str
    """Name of the peer that made it."""
    release: str
    """Version of raftchaos that the peer ran."""
    index: int
    """Everything up to this entry of the Raft log is in it."""
    wall_ms: int
    """When it was made, by the peer's clock."""
    state: bytes
    """What `ReplicatedState.snapshot` gave."""


def encode(backup: Backup) -> bytes:
    """The bytes of the file."""
    body: bytes = msgpack.packb(asdict(backup))
    return _HEAD.pack(MAGIC, VERSION, len(body), hashlib.sha256(body).digest()) + body


def decode(data: bytes) -> Backup:
    """The backup in these bytes. Raises ValueError that says what was found instead."""
    if len(data) < _HEAD.size or data[: len(MAGIC)] != MAGIC:
        raise ValueError("it is no backup of raftchaos")
    _, version, length, digest = _HEAD.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"found a backup of version {version}, this release knows version {VERSION}")
    body = data[_HEAD.size :]
    if len(body) != length:
        raise ValueError(f"found {len(body)} bytes after its head, expected {length}: it is cut off or grew")
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its checksum does not match its content")
    try:
        values: dict[str, Any] = msgpack.unpackb(body)
        backup = Backup(**{field.name: values[field.name] for field in fields(Backup)})
    except (KeyError, TypeError, ValueError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"its content is damaged: {type(error).__name__}: {error}") from None
    texts, numbers = (backup.cluster, backup.peer, backup.release), (backup.index, backup.wall_ms)
    if not (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) for number in numbers)
        and isinstance(backup.state, bytes)
    ):
        raise ValueError("its fields are of the wrong kind")
    return backup

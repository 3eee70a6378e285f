"""Small files that must survive any crash: written whole or not at all, and checked before they are believed."""

from __future__ import annotations

import errno
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import msgpack

from raftchaos.errors import DataCorrupt, MachineUnusable

_HEAD = struct.Struct(">8sII")  # magic, length and CRC-32 of the body
_MAGIC = b"rchaos\x00\x01"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: after a crash at any moment the file holds the old bytes or the new ones.

    The bytes and the name are on stable storage when this returns, and only the file's owner may read it. Raises
    MachineUnusable if it cannot be written.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.unlink(missing_ok=True)  # left by a crash, or made by somebody who wants to read what comes
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise MachineUnusable(f"cannot write {path}: {error.strerror}") from error


def read_regular(path: Path, most: int) -> bytes:
    """At most so many bytes from the beginning of a file that somebody else has named, and may have made: it never
    waits, as for a FIFO that nobody writes. Raises OSError, also for what is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return file.read(most)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_record(path: Path, value: Any) -> None:
    """Write one msgpack value with a checksum, atomically."""
    body = msgpack.packb(value)
    write_atomically(path, _HEAD.pack(_MAGIC, len(body), zlib.crc32(body)) + body)


def read_record(path: Path) -> Any:
    """The value that `write_record` wrote; None if there is no such file. Raises DataCorrupt if it is damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MachineUnusable(f"cannot read {path}: {error.strerror}") from error
    if len(data) < _HEAD.size:
        raise DataCorrupt(f"{path} is damaged: found {len(data)} bytes, expected at least {_HEAD.size}")
    magic, length, checksum = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic != _MAGIC:
        raise DataCorrupt(f"{path} is damaged: it does not begin as a file of this release does")
    if len(body) != length or zlib.crc32(body) != checksum:
        raise DataCorrupt(f"{path} is damaged: its checksum does not match its content")
    try:
        return msgpack.unpackb(body, strict_map_key=False)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise DataCorrupt(f"{path} is damaged: {error}") from error

"""Small files that are written whole and believed only after every check."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from raftchaos.errors import DataCorrupt

VERSION: Final = 1
HEAD: Final = struct.Struct("<8sIQI")  # magic, version, length of the body, crc32 of the body
CHECK: Final = struct.Struct("<I")  # crc32 of the head, so that damage to a length is not taken for a short file

Offload = Callable[[Callable[[], None], Callable[[BaseException | None], None]], None]
"""Runs the first off the loop and then the second on it, with the error if there was one."""


def at_once(work: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
    """An `Offload` for where there is no loop: does the work here and now. Raises what it raises."""
    work()
    done(None)


def seal(magic: bytes, body: bytes) -> bytes:
    """The body with a head that lets `unseal` notice any change."""
    head = HEAD.pack(magic, VERSION, len(body), zlib.crc32(body))
    return head + CHECK.pack(zlib.crc32(head)) + body


def unseal(magic: bytes, data: bytes) -> bytes:
    """The body of a sealed file. Raises ValueError that says what is wrong with it."""
    if len(data) < HEAD.size + CHECK.size:
        raise ValueError(f"it has {len(data)} bytes, too few for its head")
    found, version, length, crc = HEAD.unpack_from(data)
    if found != magic:
        raise ValueError(f"it begins with {found!r}, expected {magic!r}")
    if CHECK.unpack_from(data, HEAD.size)[0] != zlib.crc32(memoryview(data)[: HEAD.size]):
        raise ValueError("the checksum of its head does not match")
    if version != VERSION:
        raise ValueError(f"it has version {version}, this raftchaos reads version {VERSION}")
    body = data[HEAD.size + CHECK.size :]
    if len(body) != length:
        raise ValueError(f"it holds {len(body)} bytes after its head, expected {length}")
    if zlib.crc32(body) != crc:
        raise ValueError("its checksum does not match")
    return body


def corrupt(path: Path | str, reason: str) -> DataCorrupt:
    """The error that names the damaged file."""
    return DataCorrupt(f"{path} is damaged: {reason}", details={"file": str(path)})


def read_sealed(path: Path, magic: bytes) -> bytes:
    """The checked body of the file. Raises DataCorrupt that names it."""
    try:
        return unseal(magic, path.read_bytes())
    except FileNotFoundError:
        raise corrupt(path, "it is missing, although other files of this peer exist") from None
    except ValueError as error:
        raise corrupt(path, str(error)) from None


def write_all(fd: int, data: bytes | memoryview) -> None:
    """write(2) until everything is in the kernel: it then survives the death of the process. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_new(path: Path, data: bytes, *, sync: bool) -> None:
    """Create or overwrite a file of mode 0600; with `sync` it is on the disk afterwards. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_all(fd, data)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(path: Path) -> None:
    """Make renames in this directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_sealed(path: Path, magic: bytes, body: bytes) -> None:
    """Put a new body in the place of the file, atomically and durably. Raises OSError."""
    new = path.with_name(path.name + ".new")
    write_new(new, seal(magic, body), sync=True)
    new.rename(path)
    sync_directory(path.parent)

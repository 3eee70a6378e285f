"""Where the Unix socket of a peer's API is. It follows from the address of the API, so both sides find it.

The folder may be entered by its user alone; a folder of that name that belongs to somebody else is not used, but for
that of a service by root: nobody else can make it.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
from pathlib import Path
from typing import Final

from raftchaos.errors import MachineUnusable

_LOOPBACK: Final = {"localhost": "127.0.0.1", "0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "127.0.0.1"}
_LONGEST: Final = 60
_SERVICE: Final = Path("/run/raftchaos")
_CONNECT: Final = 1.0  # seconds


def _folders() -> list[Path]:
    user = os.geteuid()
    return [_SERVICE, Path(f"/run/user/{user}/raftchaos"), Path(f"/tmp/raftchaos-{user}")]


def _file(address: str) -> str:
    host, _, port = address.rpartition(":")
    host = host.strip("[]").lower()
    name = f"{_LOOPBACK.get(host, host)}-{port}"
    plain = re.fullmatch(r"[a-z0-9.:-]+", name) is not None and len(name) <= _LONGEST
    return f"{name if plain else hashlib.sha256(name.encode()).hexdigest()[:32]}.sock"


def _ours(folder: Path, *, to_serve: bool = False) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    mine = found.st_uid == os.geteuid() or (os.geteuid() == 0 and folder == _SERVICE and not to_serve)
    return stat.S_ISDIR(found.st_mode) and mine and not found.st_mode & 0o077


def socket_to_serve(address: str) -> Path:
    """Where a peer with this API address (`HOST:PORT`) is to listen; the folder is made. Raises MachineUnusable."""
    tried = ""
    for folder in _folders():
        if not folder.is_dir() and not os.access(folder.parent, os.W_OK | os.X_OK):
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            tried = f"{folder}: {error.strerror}"
            continue
        if _ours(folder, to_serve=True):
            return folder / _file(address)
        tried = f"{folder} belongs to another user, or others may enter it"
    raise MachineUnusable(
        f"found no folder for the socket of the local user ({tried or 'none can be written'})",
        hint=f"make {_folders()[-1]} with the mode 700",
    )


def forget_socket(address: str) -> None:
    """Takes away what a peer with this API address has left that was killed. For whoever knows that it has ended."""
    left = socket_of(address)
    if left is not None:
        left.unlink(missing_ok=True)


def socket_of(address: str) -> Path | None:
    """The socket of the peer with this API address, if it is one of this user's on this machine."""
    for folder in _folders():
        file = folder / _file(address)
        if _ours(folder) and file.is_socket():
            return file
    return None


def answers_at_socket(address: str) -> bool:
    """Whether a peer of this user with this API address runs on this machine; one that was killed leaves a socket at
    which nobody answers."""
    file = socket_of(address)
    if file is None:
        return False
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT)
        try:
            connection.connect(str(file))
        except OSError:
            return False
    return True

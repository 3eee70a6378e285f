"""Folders that a load may write to, and their targets."""

from __future__ import annotations

import os
from typing import Final

from raftchaos.errors import NotFound, Refused
from raftchaos.faults.resources import disks

_PREFIX: Final = "path:"
_LONGEST: Final = 120
"""Characters of a path that fit into a target."""


def writable(path: str) -> str:
    """The folder without symbolic links. Raises `NotFound` if it is not there, `Refused` if no load may write there."""
    real = os.path.realpath(path)
    if not os.path.isdir(real):
        what = "a file" if os.path.exists(real) else "nothing"
        raise NotFound(f"found {what} at {path}, expected a folder", hint="name a folder of this node")
    if len(real) > _LONGEST:
        raise Refused(f"the path {path} has {len(real)} characters, expected at most {_LONGEST}")
    try:
        flags, size = os.statvfs(real).f_flag, disks.size(real)
    except OSError as error:
        raise Refused(f"{path} cannot be looked at: {error.strerror}") from None
    if flags & os.ST_RDONLY or size == 0:
        raise Refused(f"the file system of {path} takes no files", hint="name a folder on a disk")
    if not os.access(real, os.W_OK | os.X_OK):
        raise Refused(
            f"this peer may not write to {path}: it lacks the permission, or the capability CAP_DAC_OVERRIDE",
            hint="start the peer as root, or give its user the folder",
        )
    return real


def target(path: str) -> str:
    """`path:<folder>`."""
    return _PREFIX + path


def path_of(name: str) -> str:
    """The folder of a target."""
    return name.removeprefix(_PREFIX)

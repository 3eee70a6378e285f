"""Files and folders with secrets: refused while others may read them."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from raftchaos.errors import MachineUnusable


def check_private(file: Path) -> None:
    """Raises MachineUnusable with the command to type if others than its owner may read or write this file."""
    _check(file, 0o600)


def check_folder(folder: Path) -> None:
    """Raises MachineUnusable with the command to type if others than its owner may enter this folder."""
    _check(folder, 0o700)


def check_writers(folder: Path) -> None:
    """Raises MachineUnusable with the command to type if others may replace what is in this folder."""
    _check(folder, 0o700, forbidden=0o022)


def _check(path: Path, wanted: int, forbidden: int = 0o077) -> None:
    try:
        found = os.stat(path)
    except OSError as error:
        raise MachineUnusable(f"cannot look at {path}: {error.strerror}") from error
    mode = stat.S_IMODE(found.st_mode)
    word = shlex.quote(str(path))
    if found.st_uid not in (os.geteuid(), 0):
        raise MachineUnusable(
            f"{path} belongs to the user {found.st_uid}, expected {os.geteuid()}",
            hint=f"chown {os.geteuid()} {word}",
        )
    if found.st_uid == 0 != os.geteuid():
        forbidden &= ~0o040  # how a Secret of Kubernetes with an fsGroup is given to a user who is not root
    if mode & forbidden:
        raise MachineUnusable(
            f"{path} holds secrets and has the mode {mode:04o}, expected {wanted:04o}: others may read or replace it",
            hint=f"chmod {wanted:o} {word}",
        )

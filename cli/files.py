"""Reads the files that a person names, and checks them all before anything is done with one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from raftchaos.errors import UsageError

if TYPE_CHECKING:
    from raftchaos.model.loading import Document

FILES = click.argument("files", metavar="FILE…", nargs=-1, required=True, type=click.Path(path_type=Path))


def read_documents(files: Sequence[Path]) -> list[Document]:
    """The documents of all files, checked together; `-` is standard input.

    Raises `UsageError` that names every file that cannot be read, and `InvalidDocument` with all problems of all files.
    """
    from raftchaos.faults.plugins import packages
    from raftchaos.model.loading import load_files

    packages.load()
    texts: list[tuple[str, bytes]] = []
    unreadable: list[UsageError] = []
    for path in dict.fromkeys(files):
        try:
            texts.append(_read(path))
        except UsageError as error:
            unreadable.append(error)
    if unreadable:
        raise UsageError("\n".join(error.message for error in unreadable), hint=unreadable[0].hint)
    return load_files(texts)


def _read(path: Path) -> tuple[str, bytes]:
    from raftchaos import limits
    from raftchaos.config import read_bytes

    if str(path) != "-":
        return str(path), read_bytes(path)
    if sys.stdin is None:
        raise UsageError("standard input is closed", hint="name a file, or give it something to read")
    data = sys.stdin.buffer.read(limits.DOCUMENT + 1)
    if len(data) > limits.DOCUMENT:
        raise UsageError(f"standard input has more than {limits.DOCUMENT:,} bytes", hint="split it")
    return "(standard input)", data

"""Limits of a disk for a control group, as `io.max` of cgroup v2 holds them, and what went through in spite of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

WORDS: Final = ("rbps", "wbps", "riops", "wiops")
NO_LIMIT: Final = "max"


def device_of(path: str) -> str:
    """`MAJOR:MINOR` of the disk below a path: of the whole disk, since the kernel limits no single partition.

    Raises OSError if the path is not there, ValueError if no disk is below it.
    """
    number = os.stat(path).st_dev
    major, minor = os.major(number), os.minor(number)
    if major == 0:
        major, minor = _source_of(f"{major}:{minor}")
    block = Path(f"/sys/dev/block/{major}:{minor}")
    if not block.exists():
        raise ValueError("no disk is below it")
    if (block / "partition").exists():
        return (block.resolve().parent / "dev").read_text().strip()
    return f"{major}:{minor}"


def read(group: Path, device: str) -> dict[str, str]:
    """The limits of a group for a disk; those that are not set are `max`. Raises OSError."""
    found = _line(group / "io.max", device)
    return {word: found.get(word, NO_LIMIT) for word in WORDS}


def write(group: Path, device: str, words: Mapping[str, str | int]) -> None:
    """Set limits; those that are not named stay. Raises OSError."""
    with open(group / "io.max", "w") as file:
        file.write(" ".join((device, *(f"{word}={value}" for word, value in words.items()))))


def stat(group: Path, device: str) -> dict[str, int]:
    """What a group has read from a disk and written to it: `rbytes`, `wbytes`, `rios`, `wios`. Raises OSError."""
    found = _line(group / "io.stat", device)
    return {word: int(found.get(word, 0)) for word in ("rbytes", "wbytes", "rios", "wios")}


def passed(group: Path, device: str, before: Mapping[str, int]) -> dict[str, int]:
    """The effect since the counters stood at `before`. Raises OSError."""
    now = stat(group, device)
    since = {word: max(now[word] - int(before.get(word, 0)), 0) for word in now}
    touched = since["rios"] + since["wios"]
    return {"read_bytes": since["rbytes"], "written_bytes": since["wbytes"], "touched": touched}


def _line(path: Path, device: str) -> dict[str, str]:
    for line in path.read_text().splitlines():
        name, *words = line.split()
        if name == device:
            return dict(word.split("=", 1) for word in words if "=" in word)
    return {}


def _source_of(number: str) -> tuple[int, int]:
    """The device that a file system without a number of its own (btrfs) is mounted from. Raises ValueError."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        source = fields[fields.index("-") + 2]
        if fields[2] == number and source.startswith("/dev/") and os.path.exists(source):
            found = os.stat(source).st_rdev
            return os.major(found), os.minor(found)
    raise ValueError("it is on no disk (a file system in memory, or of the network)")

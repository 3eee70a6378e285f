"""How much memory this machine has, and how much of it is available, within the limit of our control group."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from raftchaos import limits

_TWENTIETH: Final = 20
_GROUPS: Final = (
    ("", "memory.max", "memory.current"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Controller in /proc/self/cgroup, file of the limit and file of the use: of cgroup v2, and of v1."""


def total() -> int:
    """Bytes of memory of this machine, or of our control group if it may have fewer."""
    whole = _machine()["MemTotal"]
    group = _group()
    return whole if group is None else min(whole, group[0])


def available() -> int:
    """Bytes that can be taken before the kernel has to end something."""
    free = _machine()["MemAvailable"]
    group = _group()
    return free if group is None else max(min(free, group[0] - group[1]), 0)


def floor() -> int:
    """Bytes that a load leaves available, whatever was asked for."""
    return max(limits.FAULT_MEMORY_FLOOR, total() // _TWENTIETH)


def _machine() -> dict[str, int]:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}


def _group() -> tuple[int, int] | None:
    """The limit and the use of our control group; None if it has no limit that we can see."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller, limit, use in _GROUPS:
                if controllers != controller:
                    continue
                root = Path("/sys/fs/cgroup") / controller / path.lstrip("/")
                with contextlib.suppress(OSError, ValueError):  # `max`, or a root that shows no such file
                    return int((root / limit).read_text()), int((root / use).read_text())
    return None

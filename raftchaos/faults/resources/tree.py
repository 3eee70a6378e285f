"""What a process and all that it started have used, also what those used that have ended."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from raftchaos.faults.watching import stat_of

_TICK: Final = os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> Iterator[int]:
    """The processes below a process, itself not counted."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                    yield int(child)
                    yield from descendants(int(child))


def cpu_ms() -> int:
    """CPU time of everything below this process, in milliseconds."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = sum(_ticks(pid) for pid in descendants(os.getpid()))
    return int((ended.ru_utime + ended.ru_stime) * 1000) + ticks * 1000 // _TICK


def disk_bytes() -> tuple[int, int]:
    """Bytes that this process and everything below it read from disks and wrote to them."""
    counted = [_io(pid) for pid in ("self", *map(str, descendants(os.getpid())))]
    return sum(read for read, _ in counted), sum(written for _, written in counted)


def _ticks(pid: int) -> int:
    stat = stat_of(pid)
    return 0 if stat is None else stat.ticks


def _io(pid: str) -> tuple[int, int]:
    with contextlib.suppress(OSError):
        lines = (line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        found = {words[0]: int(words[1]) for words in lines}
        return found.get("read_bytes", 0), found.get("write_bytes", 0)
    return 0, 0

"""Watching a process by more than its number: numbers are used again."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stat:
    """What /proc says about a process."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start: int
    """When it started, in clock ticks since this machine did; with the pid it names the process for ever."""
    name: str
    """At most 15 characters, as the kernel and `ps` show it."""
    flags: int
    """PF_* of linux/sched.h."""
    ticks: int
    """Clock ticks of a CPU that it and those of its children that have ended have used."""


def stat_of(pid: int) -> Stat | None:
    """The process with this number, by proc_pid_stat(5); None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    head, _, tail = text.rpartition(")")
    rest = tail.split()
    return Stat(
        pid,
        state=rest[0],
        parent=int(rest[1]),
        group=int(rest[2]),
        session=int(rest[3]),
        start=int(rest[19]),
        name=head.partition("(")[2],
        flags=int(rest[6]),
        ticks=sum(map(int, rest[11:15])),
    )


def start_of(pid: int) -> int:
    """When a live process started, in clock ticks; 0 if it is gone or a zombie."""
    stat = stat_of(pid)
    return 0 if stat is None or stat.state in "ZX" else stat.start


class Watched:
    """A process that was there, seen by its number and its start."""

    def __init__(self, pid: int, start: int) -> None:
        self.pid = pid
        self.start = start
        self._fd = -1
        self._leads = False
        self._session = -1
        with contextlib.suppress(OSError):
            self._fd = os.pidfd_open(pid)
        stat = stat_of(pid)
        if stat is None or stat.start != start:
            self.close()
            return
        self._leads = stat.group == pid
        self._session = stat.session

    @property
    def fd(self) -> int:
        """Readable once the process has ended; -1 if this kernel cannot say or it was gone already."""
        return self._fd

    def alive(self) -> bool:
        """Whether it still runs. A zombie does not."""
        if self._fd >= 0:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            return not poll.poll(0)
        return self.start != 0 and start_of(self.pid) == self.start

    def kill(self) -> None:
        """SIGKILL to it, and to what it started in its own process group.

        A group that it does not lead is somebody's shell or script: then only its descendants within it are meant.
        """
        victims = [stat.pid for stat in self._group()]
        if self.alive():
            victims.insert(0, self.pid)
        for pid in dict.fromkeys(victims):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _group(self) -> list[Stat]:
        everybody = {stat.pid: stat for stat in _processes()}
        if self._leads:
            return [stat for stat in everybody.values() if stat.group == self.pid and stat.session == self._session]
        own = everybody.get(self.pid)
        if own is None or own.start != self.start:
            return []
        return [stat for stat in everybody.values() if stat.group == own.group and _descends(stat, self.pid, everybody)]


def _descends(stat: Stat, ancestor: int, everybody: dict[int, Stat]) -> bool:
    seen = 0
    while stat.parent in everybody and seen < len(everybody):
        if stat.parent == ancestor:
            return True
        stat, seen = everybody[stat.parent], seen + 1
    return False


def _processes() -> Iterator[Stat]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = stat_of(int(name))
                if stat is not None and stat.state not in "ZX":
                    yield stat

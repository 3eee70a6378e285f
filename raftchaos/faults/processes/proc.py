"""What /proc says about the processes of this machine, and signals that never meet another process with the number."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from raftchaos.faults.watching import stat_of

_KERNEL_THREAD: Final = 0x0020_0000
"""PF_KTHREAD of linux/sched.h, in the flags of /proc/PID/stat."""
_WORDS: Final = 16 * 1024
"""Bytes of a command line that are looked at."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it is now."""

    pid: int
    start: int
    """When it started, in clock ticks since this machine did; with the pid it names the process for ever."""
    state: str
    """A letter of proc(5): T is stopped by a signal, Z a zombie."""
    name: str
    """At most 15 characters, as the kernel and `ps` show it."""
    words: tuple[str, ...] = ()
    """Its command line; empty for a kernel thread."""
    kernel: bool = False
    """It is a thread of the kernel."""
    parent: int = 0
    session: int = 0
    """The pid of the process that made its session, which may be gone; 0 if that is in no namespace seen from here."""

    @property
    def stopped(self) -> bool:
        """It stands still, by a signal or a tracer."""
        return self.state in "Tt"

    @property
    def gone(self) -> bool:
        """It has ended and only waits for its parent to look."""
        return self.state in "ZX"

    def __str__(self) -> str:
        return f"{self.pid} ({self.name})"


def process(pid: int) -> Process | None:
    """The process with this number, without its command line; None if there is none."""
    stat = stat_of(pid)
    if stat is None:
        return None
    kernel = bool(stat.flags & _KERNEL_THREAD)
    return Process(pid, stat.start, stat.state, stat.name, kernel=kernel, parent=stat.parent, session=stat.session)


def processes() -> Iterator[Process]:
    """Every process that runs, with its command line, in the order of their numbers."""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            found = process(pid)
            if found is not None and not found.gone:
                words = () if found.kernel else words_of(pid)
                yield replace(found, words=words)


def family(pid: int, start: int, session: int) -> list[Process]:
    """The processes that one has started, and theirs, also when it is gone: what descends from it (`pid`, `start`), and
    what is younger and in its session."""
    found: dict[int, Process] = {}
    for name in os.listdir("/proc"):
        each = process(int(name)) if name.isdigit() else None
        if each is not None and not each.gone and not each.kernel:
            found[each.pid] = each
    children: dict[int, list[int]] = {}
    for each in found.values():
        children.setdefault(each.parent, []).append(each.pid)
    new = [each.pid for each in found.values() if each.session == session > 0 and each.start >= start]
    if pid in found and found[pid].start == start:
        new.append(pid)
    seen: set[int] = set()
    while new:
        one = new.pop()
        if one not in seen:
            seen.add(one)
            new.extend(children.get(one, []))
    return [found[one] for one in sorted(seen - {pid})]


def words_of(pid: int) -> tuple[str, ...]:
    """The command line of a process; empty if it is gone or has none."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        text = file.read(_WORDS).decode(errors="replace").rstrip("\0")
        return tuple(text.split("\0")) if text else ()
    return ()


class Handle:
    """A process held by a pidfd: a signal through it meets this process or nobody. To be used in a `with`."""

    def __init__(self, pid: int, start: int) -> None:
        """`alive` is False if this process is gone, also when another has its number by now."""
        self.pid = pid
        self._start = start
        self._fd = -1
        with contextlib.suppress(ProcessLookupError):
            self._fd = os.pidfd_open(pid)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def fd(self) -> int:
        """Readable once the process has ended; -1 if it was gone before."""
        return self._fd

    def ended(self) -> bool:
        """It has given back its memory and its files."""
        if self._fd < 0:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(0))

    def look(self) -> Process | None:
        """The process as it is now; None if it is gone."""
        found = process(self.pid) if self._fd >= 0 else None
        return None if found is None or found.gone or found.start != self._start else found

    def send(self, number: int) -> bool:
        """Send a signal; False if the process is gone. Raises PermissionError."""
        if self.look() is None:
            return False
        try:
            signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            return False
        return True

"""The reaper: watches main and the lease; when main dies or the lease ends, it carries out the undo plans.

    python -m raftchaos.faults.reaper --data-dir D [--main-pid P --main-start T] [--lease-end E]

One stands at a time (a lock in the data directory says so; a second one ends at once with exit code 75). It ends when
main is dead and everything is undone, or when main asks it to before its own end. It imports nothing heavy and does
nothing else, so that it is there when everything else is not.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import selectors
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from raftchaos import limits
from raftchaos.errors import RaftchaosError
from raftchaos.faults.reaper_socket import Answer, ControlSocket
from raftchaos.faults.records import UndoRecord
from raftchaos.faults.undo import UndoJournal
from raftchaos.faults.undo_plan import Undoer
from raftchaos.faults.watching import Watched, start_of

ANOTHER_STANDS: Final = 75
_LOCK_PATIENCE: Final = 1.0  # longer than anybody's look whether a reaper stands
_LOCK_POLL: Final = 0.01
_TICK: Final = 0.2  # timers of select do not count a suspend; the lease does, so it is compared this often
_RETRY_FIRST: Final = 0.1
_RETRY_LAST: Final = 1.0


class Reaper:
    """One data directory's reaper. `lease_end` is of CLOCK_BOOTTIME; 0.0 means that there is no lease."""

    def __init__(self, data_dir: Path, main: Watched, lease_end: float) -> None:
        self._main = main
        self._lease_end = lease_end
        self._journal = UndoJournal(data_dir)
        self._undoer = Undoer(self._journal, "reaper")
        self._selector = selectors.DefaultSelector()
        self._control = ControlSocket(data_dir, self._selector, self._take)
        self._lapsed = False
        """The end of the present lease has been acted on."""
        self._overdue: set[str] = set()
        """Runs of leases that have ended which could not be undone yet."""
        self._problems: dict[str, str] = {}
        self._retry_at = 0.0
        self._retry_wait = _RETRY_FIRST
        self._leaving = False
        self._main_fd = main.fd
        if self._main_fd >= 0:
            self._selector.register(self._main_fd, selectors.EVENT_READ, lambda: None)

    def run(self) -> None:
        """Watch until there is nothing left to watch."""
        try:
            while True:
                self._look()
                if self._leaving:
                    return
                for key, _ in self._selector.select(self._patience()):
                    key.data()
        finally:
            self._control.close()
            self._selector.close()
            self._journal.close()

    def _look(self) -> None:
        """One look at main, the lease and what is overdue."""
        now = boot_clock()
        dead = not self._main.alive()
        if dead and self._main_fd >= 0:
            self._selector.unregister(self._main_fd)  # else its end would wake us without a pause
            self._main_fd = -1
        if dead or (now > self._lease_end and not self._lapsed):
            if now >= self._retry_at:
                self._reap(everything=True)
        elif self._overdue and now >= self._retry_at:
            self._reap(everything=self._lapsed)
        elif self._lapsed and self._due(self._open()):
            self._reap(everything=True)  # opened by a main that did not see its lease end
        if dead and not self._overdue and not self._open():
            self._leaving = True

    def _patience(self) -> float:
        now = boot_clock()
        if self._overdue:
            return max(0.0, min(self._retry_at - now, _TICK))
        if self._lapsed or self._lease_end <= now:
            return _TICK
        return min(self._lease_end - now + 0.001, _TICK)

    def _open(self) -> list[UndoRecord]:
        try:
            return self._journal.open_records()
        except RaftchaosError as error:
            say(str(error))
            return []

    def _due(self, records: Iterable[UndoRecord]) -> set[str]:
        """What of these is to be undone once the lease has ended: all but what stands for the life of this main, which
        lives."""
        holder = f"{self._main.pid} {self._main.start}" if self._main.alive() else None
        return {record.run for record in records if record.holder != holder}

    # ---- undoing

    def _reap(self, *, everything: bool) -> None:
        """Take the lock, raise the epoch, undo: everything that is due, or only what is overdue."""
        if not self._take_lock():
            self._later({"": "the undo journal's lock is held"})
            return
        try:
            self._raise_epoch()
            due = self._due(self._journal.open_records()) if everything else self._overdue
            left = self._undoer.undo_open(due)
        except RaftchaosError as error:  # a damaged journal: nothing can be undone from it, and a person must look
            left = {"": str(error)}
        finally:
            self._journal.unlock()
        if everything:
            self._lapsed = True
        self._later(left)

    def _later(self, left: dict[str, str]) -> None:
        if left != self._problems:
            for run, problem in left.items():
                say(f"could not undo {run or 'what is open'}: {problem}; trying again")
            self._problems = dict(left)
        self._overdue = set(left)
        self._retry_at = boot_clock() + self._retry_wait
        self._retry_wait = min(self._retry_wait * 2, _RETRY_LAST) if left else _RETRY_FIRST

    def _take_lock(self) -> bool:
        """The journal's lock, within the bound: whoever holds it longer is frozen in an injection, and is killed."""
        if self._wait_for_lock(limits.REAPER_LOCK_WAIT):
            return True
        say(f"the undo journal's lock was held for {limits.REAPER_LOCK_WAIT} s at the end of the lease: killing main")
        self._main.kill()
        return self._wait_for_lock(limits.REAPER_LOCK_WAIT)

    def _wait_for_lock(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not self._journal.try_lock():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOCK_POLL)
        return True

    def _raise_epoch(self) -> None:
        try:
            self._journal.raise_epoch()
        except (OSError, RaftchaosError) as error:  # main sees the records marked done all the same
            say(f"cannot raise the epoch: {error}")

    # ---- messages

    def _take(self, message: dict[str, Any]) -> Answer:
        what = message.get("do")
        if what == "hello":
            return {
                "ok": True,
                "pid": os.getpid(),
                "main_pid": self._main.pid,
                "main_start": self._main.start,
                "lease_end": self._lease_end,
            }
        if what == "lease":
            return self._take_lease(message.get("end"))
        if what == "stop":
            if self._overdue or self._open():
                return {"ok": False, "error": "something is not undone yet"}
            self._leaving = True
            return {"ok": True}
        if what == "retire":
            if self._main.alive():
                return {"ok": False, "error": f"its main, process {self._main.pid}, is alive"}
            self._leaving = True
            return {"ok": True}
        return {"ok": False, "error": f"found the request {what!r}, expected hello, lease, stop or retire"}

    def _take_lease(self, end: Any) -> Answer:
        if not isinstance(end, float | int):
            return {"ok": False, "error": f"found the end {end!r}, expected seconds"}
        if boot_clock() > self._lease_end and not self._lapsed:
            self._reap(everything=True)  # the old lease is over for all that was under it, before a new one begins
            if not self._lapsed:
                return {"ok": False, "error": "the old lease could not be wound up yet"}
        if end > self._lease_end:
            self._lease_end = float(end)
            self._lapsed = boot_clock() > self._lease_end
        return {"ok": True, "lease_end": self._lease_end}


def boot_clock() -> float:
    """Seconds of CLOCK_BOOTTIME, in which leases are told."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say(text: str) -> None:
    """One line to standard error, if anybody is still there to read it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"raftchaos reaper: {text}\n")
        sys.stderr.flush()


def take_reaper_lock(data_dir: Path) -> int | None:
    """The lock that says that a reaper stands, held as long as the descriptor is open; None if another one stands."""
    folder = data_dir / "undo"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(folder / "reaper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                return None
            time.sleep(_LOCK_POLL)
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d %d\n" % (os.getpid(), start_of(os.getpid())), 0)
    return fd


def read_process(path: Path) -> tuple[int, int]:
    """Number and start of the process that a file names; (0, 0) if it names none."""
    try:
        pid, start = path.read_text().split()
        return int(pid), int(start)
    except (OSError, ValueError):
        return 0, 0


def main(arguments: list[str] | None = None) -> int:
    """The process. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="raftchaos.faults.reaper", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--main-pid", type=int, help="default: the main that the data directory names")
    parser.add_argument("--main-start", type=int, help="start of main in clock ticks; default: as it is now")
    parser.add_argument("--lease-end", type=float, default=0.0, help="seconds of CLOCK_BOOTTIME")
    options = parser.parse_args(arguments)
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # it ends with main, not with a service manager's first round of signals
    lock = take_reaper_lock(options.data_dir)
    if lock is None:
        return ANOTHER_STANDS
    pid, start = read_process(options.data_dir / "undo" / "main")
    if options.main_pid is not None:
        pid = options.main_pid
        start = start_of(pid) if options.main_start is None else options.main_start
    try:
        Reaper(options.data_dir, Watched(pid, start), options.lease_end).run()
    except RaftchaosError as error:
        say(str(error))
        return error.spec.exit_code
    finally:
        os.close(lock)
    return 0


if __name__ == "__main__":
    sys.exit(main())

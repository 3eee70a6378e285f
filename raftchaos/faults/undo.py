"""The undo journal: what must be undone is on disk before anything is done.

One directory holds it: `journal` (append-only records), `lock` (flock; main holds it from its check to the end of an
injection, the reaper while it undoes; helper processes inherit it) and `epoch` (raised by whoever undoes records of a
main that is still there, so that main notices). Everything here is synchronous and small: the reaper imports it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from raftchaos.errors import DataCorrupt, MachineUnusable
from raftchaos.faults.records import (
    MAGIC,
    Damaged,
    Effects,
    Scan,
    Step,
    UndoRecord,
    done_entry,
    entries_of,
    open_entry,
    scan,
)

DONE_KEPT: Final = 200
"""Done records that a compaction keeps: their effects may not have been reported yet."""
_COMPACT_BYTES: Final = 256 * 1024
_EPOCH_DIGITS: Final = 20
_POLL: Final = 0.01


class LockTimeout(TimeoutError):
    """Another process holds the undo journal's lock."""


class UndoJournal:
    """One process's hand on the undo journal of a data directory.

    Methods that write say so and need the lock (`lock` or `try_lock`). Raises `DataCorrupt` when the file does not pass
    its checks, `MachineUnusable` when it cannot be written.
    """

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "undo"
        self._journal = self.directory / "journal"
        self._epoch = self.directory / "epoch"
        self._seen: tuple[tuple[int, int, int], Scan] | None = None
        """Which file was read last, and what it held. One attribute: main appends in a thread and reads meanwhile."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable("open", error) from error
        self._held = False

    # ---- the lock

    @property
    def lock_fd(self) -> int:
        """The lock's file descriptor: pass it to a helper process that goes on with an injection, so that the lock is
        held as long as the helper lives."""
        return self._lock_fd

    @property
    def held(self) -> bool:
        """Whether this process has the lock."""
        return self._held

    def try_lock(self) -> bool:
        """Take the lock if it is free. Never waits."""
        if self._held:
            raise RuntimeError("this process has the undo journal's lock already")
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._held = True
        return True

    def unlock(self) -> None:
        """Give the lock back."""
        self._held = False
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def lock(self, timeout: float) -> Iterator[None]:
        """Hold the lock; waits at most `timeout` seconds for it, then raises `LockTimeout`."""
        deadline = time.monotonic() + timeout
        while not self.try_lock():
            if time.monotonic() >= deadline:
                raise LockTimeout(f"another process holds {self.directory / 'lock'}")
            time.sleep(_POLL)
        try:
            yield
        finally:
            self.unlock()

    def close(self) -> None:
        """Let go of the files. The lock is free afterwards, unless a helper process inherited it."""
        os.close(self._lock_fd)

    # ---- the epoch

    @property
    def epoch(self) -> int:
        """How often somebody undid records that their main may still have believed to be open."""
        try:
            text = self._epoch.read_bytes()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise self._unusable("read", error) from error
        if not text.strip(b"\0"):
            return 0  # created, never written: a power cut, and what it took with it no live main can believe in
        if len(text) != _EPOCH_DIGITS + 1 or not text[:-1].isdigit():
            raise self._corrupt(self._epoch, "found no number in it")
        return int(text)

    def raise_epoch(self) -> int:
        """Raise it by one (needs the lock). Returns the new one."""
        self._need_lock()
        epoch = self.epoch + 1
        # Written in place within one sector, so that a full disk cannot stand in the way.
        fd = os.open(self._epoch, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, b"%0*d\n" % (_EPOCH_DIGITS, epoch), 0)
        finally:
            os.close(fd)
        return epoch

    # ---- records

    def records(self) -> dict[str, UndoRecord]:
        """The newest record of every run, as the file says now. Cheap while the file does not change."""
        return self._scan().records

    def open_records(self) -> list[UndoRecord]:
        """What is not undone yet, oldest first."""
        return [record for record in self.records().values() if not record.done]

    def record_open(self, run: str, kind: str, plan: Iterable[Step], holder: str = "") -> None:
        """Say what will have to be undone; on disk when this returns (needs the lock). `holder`: see `UndoRecord`.

        Raises `ValueError` for a run that was opened before: a run is injected once.
        """
        record = UndoRecord(run, self.epoch, kind, tuple(plan), holder=holder)
        if run in self.records():
            raise ValueError(f"the run {run} is in the undo journal already")
        self._append(open_entry(record), sync=True)

    def mark_done(self, run: str, effects: Effects, by: str) -> bool:
        """Say that a run is undone (needs the lock). False if that was said before, or it was never opened.

        Not synced: if a power cut takes it back, the machine's faults are gone with it, and undoing is idempotent.
        """
        record = self.records().get(run)
        if record is None or record.done:
            return False
        self._append(done_entry(run, effects, by), sync=False)
        return True

    def compact(self, forget: Iterable[str] = ()) -> None:
        """Write the file anew (needs the lock): open records, and the newest done ones of runs without those in
        `forget`. What is done of what stood for a process nobody asks for any more."""
        self._need_lock()
        gone = set(forget)
        records = self.records()
        done = [run for run, record in records.items() if record.done and run not in gone and not record.holder]
        kept = {run for run, record in records.items() if not record.done} | set(done[-DONE_KEPT:])
        self._replace(MAGIC + b"".join(entries_of(record) for run, record in records.items() if run in kept))

    @property
    def oversized(self) -> bool:
        """Whether a compaction is worth it."""
        self._scan()
        seen = self._seen
        return seen is not None and seen[0][1] > _COMPACT_BYTES

    # ---- files

    def _scan(self) -> Scan:
        try:
            with open(self._journal, "rb") as file:
                status = os.fstat(file.fileno())
                signature = (status.st_ino, status.st_size, status.st_mtime_ns)
                seen = self._seen
                if seen is None or seen[0] != signature:
                    seen = self._seen = (signature, scan(file.read()))
                return seen[1]
        except FileNotFoundError:
            self._seen = None
            return Scan({}, 0)
        except Damaged as error:
            raise self._corrupt(self._journal, str(error)) from None
        except OSError as error:
            raise self._unusable("read", error) from error

    def _append(self, entry: bytes, *, sync: bool) -> None:
        self._need_lock()
        end = self._scan().end
        if end == 0:
            self._replace(MAGIC)
            end = self._scan().end
        try:
            fd = os.open(self._journal, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.ftruncate(fd, end)  # cuts the torn end of a write that never finished
                if os.pwrite(fd, entry, end) != len(entry):
                    raise OSError("the disk took a part of the record only")
                if sync:
                    os.fdatasync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._unusable("write", error) from error
        self._seen = None

    def _replace(self, content: bytes) -> None:
        new = self.directory / "journal.new"
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._journal)
            folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._unusable("write", error) from error
        self._seen = None

    def _need_lock(self) -> None:
        if not self._held:
            raise RuntimeError("the undo journal is written under its lock only")

    def _unusable(self, what: str, error: OSError) -> MachineUnusable:
        return MachineUnusable(
            f"cannot {what} the undo journal in {self.directory}: {error.strerror or error}",
            hint="make the folder writable for this user and see that its disk is not full",
        )

    def _corrupt(self, path: Path, found: str) -> DataCorrupt:
        return DataCorrupt(
            f"the undo journal {path} is damaged: {found}",
            hint="faults of an earlier start may be on: look at the proxies and the network of this machine, "
            f"take back what you find, then move {path} away and start again",
        )


__all__ = ["DONE_KEPT", "LockTimeout", "UndoJournal", "UndoRecord"]

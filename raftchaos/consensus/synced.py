"""The log of `--durability disk`: nothing is stable before the disk has it.

One thread at a time writes and syncs. What is added meanwhile waits for the next turn, so many entries share one sync
(group commit) and the loop never waits for the disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from raftchaos.consensus import files
from raftchaos.consensus.storage import DiskLog


class _Append:
    """Writes and syncs records at the end of the log."""

    def __init__(self, fd: int, data: bytes) -> None:
        self.fd, self.data = fd, data
        self.complete = False

    def __call__(self) -> None:
        files.write_all(self.fd, self.data)
        os.fdatasync(self.fd)
        self.complete = True


class _Replace:
    """Puts a new file in the place of the log. At no moment is there less on the disk than was promised."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data = path, data
        self.fd = -1
        self.complete = False

    def __call__(self) -> None:
        new = self.path.with_name("log.new")
        files.write_new(new, self.data, sync=True)
        files.sync_directory(self.path.parent)  # the name of the snapshot that holds what is forgotten here
        new.rename(self.path)
        files.sync_directory(self.path.parent)
        self.fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self.complete = True


class SyncedLog(DiskLog):
    """A `DiskLog` whose `flush()` only begins: `stable` follows when the disk has everything, and then `offload` calls
    back on the loop.
    """

    def __init__(self, directory: Path, *, cluster_id: str | None, name: str) -> None:
        super().__init__(directory, cluster_id=cluster_id, name=name)
        self._job: _Append | _Replace | None = None
        self._promised = 0
        """The entry up to which the log is stable once the job is done."""
        self._rewrite_due = False
        os.fdatasync(self._fd)  # a killed process may have left the end of it to the kernel
        files.sync_directory(directory)

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        """Delete the entry at this position and all after it, and what the disk is told of them meanwhile."""
        super().deleteEntriesFrom(entryFrom)
        self._promised = min(self._promised, self.last_index)

    def reset(self, index: int, term: int) -> None:
        """Begin anew after a snapshot that ends with this entry."""
        super().reset(index, term)
        self._promised = 0

    @property
    def wasteful(self) -> bool:
        """Truncated and forgotten entries take most of the file, and nothing is being done about it."""
        return self._job is None and not self._rewrite_due and super().wasteful

    def _rewrite(self) -> None:
        self._rewrite_due = True
        self._buffer = []

    def flush(self) -> None:
        """Begin to write and sync everything added so far, unless that of an earlier call is still under way."""
        if self._job is not None or not (self._buffer or self._rewrite_due):
            return
        if self._rewrite_due:
            self._job = _Replace(self.path, self._content())
        else:
            self._job = _Append(self._fd, b"".join(self._buffer))
        self._buffer, self._rewrite_due = [], False
        self._promised = self.last_index
        self.offload(self._job, self._done)

    def _done(self, error: BaseException | None) -> None:
        if error is not None:
            raise error
        self._settle()

    def _settle(self) -> None:
        job = self._job
        if job is None or not job.complete:
            return
        self._job = None
        if isinstance(job, _Replace):
            os.close(self._fd)
            self._fd, self._size = job.fd, len(job.data)
        else:
            self._size += len(job.data)
        self.stable = max(self.stable, self._promised)

    def close(self) -> None:
        """Write, sync and close the file; may be called twice. Nothing may be under way aside any more."""
        if self._fd < 0:
            return
        self._settle()
        if self._job is None:  # else it failed, and what the file ends with nobody knows
            self.offload = files.at_once
            self.onOneSecondTimer()
            self.flush()
        os.close(self._fd)
        self._fd = -1

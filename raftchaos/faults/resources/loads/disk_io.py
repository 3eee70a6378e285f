"""A disk is kept busy with writes that are synced and with reads past the cache, by stress-ng where it is installed."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any, Final

from raftchaos import limits
from raftchaos.faults.resources import tree
from raftchaos.faults.resources.loads.workers import StressNg, Workers

_BLOCK: Final = 1024 * 1024
_SYNC_EVERY: Final = 4
_LOOK: Final = 0.2


class DiskIoLoad:
    """`workers` processes that write, sync and read in the new folder `folder`."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._workers = int(parameters["workers"])
        self._folder = str(parameters["folder"])
        self._below: Workers | StressNg = Workers()

    def start(self) -> None:
        """Make the folder, start them. A folder that is there already is none of ours."""
        os.mkdir(self._folder, 0o700)
        if StressNg.installed():
            size = str(limits.FAULT_IO_FILE)
            self._below = StressNg(
                ["--temp-path", self._folder, "--hdd", str(self._workers), "--hdd-bytes", size, "--hdd-opts", "fsync"]
            )
            self._below.start()
            return
        workers = self._below = Workers()
        for number in range(self._workers):
            workers.add(functools.partial(self._churn, number))

    def work(self) -> float:
        """They work by themselves."""
        self._below.check()
        return _LOOK

    def stop(self) -> None:
        """End them. Their files are removed by the undo step, which knows the folder."""
        self._below.stop()

    def effect(self) -> dict[str, int]:
        """What the disk read and wrote for them, in bytes."""
        read, written = tree.disk_bytes()
        return {"read_bytes": read, "written_bytes": written, "touched": read + written}

    def _churn(self, number: int) -> None:
        block = os.urandom(_BLOCK)
        fd = os.open(f"{self._folder}/{number}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        while True:
            for index in range(limits.FAULT_IO_FILE // _BLOCK):
                os.pwrite(fd, block, index * _BLOCK)
                if index % _SYNC_EVERY == 0:
                    os.fdatasync(fd)
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            for index in range(limits.FAULT_IO_FILE // _BLOCK):
                os.pread(fd, _BLOCK, index * _BLOCK)

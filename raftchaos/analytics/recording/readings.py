"""Readings of this machine: processors, memory, disk, open files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

_FILES: Final = Path("/proc/sys/fs/file-nr")


class Machine:
    """Reads what the machine of this process uses.

    `disk_percent` is of the file system that holds `folder`; `open_files` are those of the whole machine, from
    /proc/sys/fs/file-nr, and of this process where there is no such file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = psutil.Process()
        psutil.cpu_percent(interval=None)  # the first answer says nothing: it has no beginning

    def read(self) -> dict[str, float]:
        """What `ChaosAnalytics.record_reading` takes. The processors' share is that since the last reading."""
        return {
            "cpu_percent": psutil.cpu_percent(interval=None),
            "memory_percent": psutil.virtual_memory().percent,
            "disk_percent": psutil.disk_usage(str(self._folder)).percent,
            "open_files": float(self._open_files()),
        }

    def _open_files(self) -> int:
        try:
            return int(_FILES.read_text().split()[0])
        except OSError:
            return self._process.num_fds()

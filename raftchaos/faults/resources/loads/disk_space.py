"""Space of a file system is taken by one file, down to what stays free."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from raftchaos.faults.resources import disks
from raftchaos.faults.resources.loads import LoadFailed

_CHUNK: Final = 64 * 1024 * 1024
_LAST: Final = 64 * 1024
_SECTOR: Final = 512  # of st_blocks, whatever the file system's blocks are
_LOOK: Final = 0.2


class DiskSpaceLoad:
    """Grows the new file `file` to `bytes`, as long as `floor` bytes stay free."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._file = str(parameters["file"])
        self._wanted = int(parameters["bytes"])
        self._floor = int(parameters["floor"])
        self._fd = -1
        self._held = 0
        self._most = 0

    def start(self) -> None:
        """Make the file. One that is there already is none of ours."""
        self._fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self.work()
        if not self._held:
            raise LoadFailed(f"nothing can be taken: {self._floor} bytes are to stay free")

    def work(self) -> float:
        """One chunk more, if there is room. What others give back is taken too."""
        room = disks.free(os.path.dirname(self._file)) - self._floor
        size = min(_CHUNK, self._wanted - self._held, room)
        if size < _LAST:
            return _LOOK
        try:
            os.posix_fallocate(self._fd, self._held, size)
            self._most = os.fstat(self._fd).st_blocks * _SECTOR
        except OSError as error:
            if not self._held:
                raise LoadFailed(f"{self._file} cannot be filled: {error.strerror}") from None
            return _LOOK  # full for this user; somebody may make room
        self._held += size
        return 0.0

    def stop(self) -> None:
        """Remove the file."""
        if self._fd >= 0:
            os.close(self._fd)
            os.unlink(self._file)
            self._fd = -1

    def effect(self) -> dict[str, int]:
        """The bytes that were taken."""
        return {"held_bytes": self._most, "touched": self._most}

"""Memory is held, and given back as soon as the host would have too little."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Mapping
from typing import Any, Final

from raftchaos.faults.resources import host_memory
from raftchaos.faults.resources.loads import LoadFailed

CHUNK: Final = 16 * 1024 * 1024
_PATTERN: Final = 1024 * 1024
_LOOK: Final = 0.1


class MemoryLoad:
    """Holds `bytes`, in chunks, of which none is taken that would leave less than `floor` available."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._wanted = int(parameters["bytes"])
        self._floor = int(parameters["floor"])
        self._chunks: list[mmap.mmap] = []
        self._held = 0
        self._most = 0
        self._pattern = os.urandom(_PATTERN)  # what the kernel cannot compress or share

    def start(self) -> None:
        """Take the first chunk."""
        self.work()
        if not self._held:
            raise LoadFailed(f"no memory can be held: {self._floor} bytes are to stay available")

    def work(self) -> float:
        """One chunk more, or one less."""
        free = host_memory.available()
        size = min(CHUNK, self._wanted - self._held)
        if free < self._floor and self._chunks:
            self._give_back()
            return 0.0
        if size > 0 and free - size > self._floor + (CHUNK if self._chunks else 0):
            self._take(size)
            return 0.0
        return _LOOK

    def stop(self) -> None:
        """Give everything back."""
        while self._chunks:
            self._give_back()

    def effect(self) -> dict[str, int]:
        """The most that was held at once, in bytes."""
        return {"held_bytes": self._most, "touched": self._most}

    def _take(self, size: int) -> None:
        chunk = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):
            chunk.madvise(mmap.MADV_HUGEPAGE)  # given back faster
        while (left := size - chunk.tell()) > 0:
            chunk.write(self._pattern[:left])
        self._chunks.append(chunk)
        self._held += size
        self._most = max(self._most, self._held)

    def _give_back(self) -> None:
        chunk = self._chunks.pop()
        self._held -= len(chunk)
        chunk.close()

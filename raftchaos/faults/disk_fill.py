"""The fault disk_fill: takes the room of a file system. Its parameters stand in `model.faults.disk_fill`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from raftchaos import limits
from raftchaos.errors import Refused
from raftchaos.faults.base import Host, NodeContext
from raftchaos.faults.resources import disks, folders, host_memory
from raftchaos.faults.resources.helper_fault import HelperFault
from raftchaos.model.faults.disk_fill import FAULT, DiskFillParameters

_LEAST: Final = 1024 * 1024
"""Less than this is no fault."""


class DiskFill(HelperFault[DiskFillParameters]):
    """Targets are `path:<folder>`."""

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The folder, without symbolic links. Refused where nothing could be taken."""
        wanted = self.read(parameters)
        path = folders.writable(wanted.path)
        free, floor = disks.free(path), self._floor(wanted, path)
        if disks.kind(path) == "tmpfs":
            free, floor = _in_memory(free, floor)
        if free - floor < _LEAST:
            raise Refused(
                f"{free} bytes are free on {path}, of which {floor} are to stay free: nothing can be filled",
                hint="make room, or name a file system with more",
            )
        if self._wanted(wanted, path) < _LEAST:
            raise Refused(f"{path} is filled to {wanted.percent:g} % already", hint="say a larger percent")
        return (folders.target(path),)

    def files_of(self, target: str, token: str) -> list[str]:
        """The one file that takes the room."""
        return [f"{folders.path_of(target)}/.raftchaos-fill-{token}"]

    def order(self, wanted: DiskFillParameters, target: str, files: list[str]) -> dict[str, Any]:
        """How much, and what stays free."""
        path = folders.path_of(target)
        floor, size = self._floor(wanted, path), self._wanted(wanted, path)
        if disks.kind(path) == "tmpfs":  # it is filled with memory, of which the host keeps its floor
            size = min(size, max(host_memory.available() - host_memory.floor(), 0))
        return {"file": files[0], "bytes": size, "floor": floor}

    def _floor(self, wanted: DiskFillParameters, path: str) -> int:
        """The file system that holds the peer's own data keeps more, so that the peer stays well."""
        shared = os.stat(path).st_dev == os.stat(self._host.data_dir).st_dev
        return max(wanted.leave_free_bytes, 2 * limits.DISK_FREE if shared else 0)

    def _wanted(self, wanted: DiskFillParameters, path: str) -> int:
        size = disks.size(path)
        if wanted.bytes is not None:
            return wanted.bytes
        if wanted.percent is not None:
            return int(size * wanted.percent / 100) - (size - disks.free(path))
        return size


def _in_memory(free: int, floor: int) -> tuple[int, int]:
    memory, least = host_memory.available(), host_memory.floor()
    return (memory, least) if memory - least < free - floor else (free, floor)


def make(host: Host) -> DiskFill:
    """The fault."""
    return DiskFill(FAULT, DiskFillParameters, host)

"""The fault disk_io_load: keeps a disk busy. Its parameters stand in `model.faults.disk_io_load`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raftchaos import limits
from raftchaos.errors import Refused
from raftchaos.faults.base import Host, NodeContext
from raftchaos.faults.resources import disks, folders
from raftchaos.faults.resources.helper_fault import HelperFault
from raftchaos.model.faults.disk_io_load import FAULT, DiskIoLoadParameters


class DiskIoLoad(HelperFault[DiskIoLoadParameters]):
    """Targets are `path:<folder>`."""

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The folder, without symbolic links. Refused where it is on no disk, or there is no room for the files."""
        wanted = self.read(parameters)
        path = folders.writable(wanted.path)
        if disks.kind(path) in ("tmpfs", "ramfs"):
            raise Refused(f"{path} is in memory, on no disk", hint="name a folder on the disk that is to be loaded")
        needed = wanted.workers * limits.FAULT_IO_FILE + limits.FAULT_DISK_LEFT
        if disks.free(path) < needed:
            raise Refused(
                f"{disks.free(path)} bytes are free on {path}, expected {needed} for the files of {wanted.workers} "
                "workers and what stays free",
                hint="make room, or ask for fewer workers",
            )
        return (folders.target(path),)

    def files_of(self, target: str, token: str) -> list[str]:
        """The folder that the files stand in."""
        return [f"{folders.path_of(target)}/.raftchaos-io-{token}"]

    def order(self, wanted: DiskIoLoadParameters, target: str, files: list[str]) -> dict[str, Any]:
        """Where, and by how many."""
        return {"folder": files[0], "workers": wanted.workers}


def make(host: Host) -> DiskIoLoad:
    """The fault."""
    return DiskIoLoad(FAULT, DiskIoLoadParameters, host)

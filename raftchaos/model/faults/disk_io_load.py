"""disk_io_load: the disk below a folder of the node is kept busy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultParameters, FaultType
from raftchaos.model.faults.selection import AbsolutePath


class DiskIoLoadParameters(FaultParameters):
    """Writes, syncs and reads files of its own in processes of its own; the files are removed afterwards."""

    path: AbsolutePath = Field(description="A folder on the disk that is to be loaded; the files stand there.")
    workers: Annotated[int, Field(ge=1, le=limits.FAULT_IO_WORKERS)] = Field(
        default=1, description="Processes that write, each in a file of 64 MiB at most; default 1."
    )


FAULT = FaultType(
    type="disk_io_load",
    kind="continuous",
    parameters=DiskIoLoadParameters,
    summary="a disk is kept busy with writes, syncs and reads",
    needs=(),
    protocol=None,
    recovery_seconds=1.5,
    deed="while it was to be loaded",
    example={"path": "/var/lib/checkout"},
)

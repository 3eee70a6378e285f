"""disk_fill: a file system of the node has little room left."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultParameters, FaultType
from raftchaos.model.faults.selection import AbsolutePath, Bytes, Percent


class DiskFillParameters(FaultParameters):
    """Takes space on a file system with one file that is removed afterwards."""

    path: AbsolutePath = Field(description="A folder on the file system that is to be filled; the file stands there.")
    bytes: Bytes | None = Field(default=None, description="How many bytes are taken, at most.")
    percent: Percent | None = Field(
        default=None, description="Fills the file system until this part of it is used, in percent."
    )
    leave_free_bytes: Annotated[int, Field(ge=limits.FAULT_DISK_FLOOR, le=limits.FAULT_SPACE)] = Field(
        default=limits.FAULT_DISK_LEFT,
        description="What stays free whatever else is said, in bytes, at least 16 MiB; default 64 MiB.",
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        if self.bytes is not None and self.percent is not None:
            raise PydanticCustomError("rule", "bytes or percent, not both; neither fills all but leaveFreeBytes")
        return self


FAULT = FaultType(
    type="disk_fill",
    kind="continuous",
    parameters=DiskFillParameters,
    summary="a file system is filled, down to a floor that stays free",
    needs=(),
    protocol=None,
    recovery_seconds=1.5,
    deed="while it was to be filled",
    example={"path": "/var/lib/checkout"},
)

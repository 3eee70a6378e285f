"""disk_throttle: processes of the node read and write a disk more slowly."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultParameters, FaultType
from raftchaos.model.faults.selection import AbsolutePath, Bytes, ProcessSelection, must_select

Operations = Annotated[int, Field(ge=1, le=limits.FAULT_OPERATIONS)]

WORDS: Final = {
    "read_bytes_per_second": "rbps",
    "write_bytes_per_second": "wbps",
    "read_operations_per_second": "riops",
    "write_operations_per_second": "wiops",
}
"""What the kernel calls each limit, in `io.max` of cgroup v2."""


class DiskThrottleParameters(ProcessSelection, FaultParameters):
    """Limits what the control groups of the selected processes read from and write to one disk."""

    path: AbsolutePath = Field(description="A file or folder on the disk.")
    read_bytes_per_second: Bytes | None = Field(default=None, description="Most bytes read in a second.")
    write_bytes_per_second: Bytes | None = Field(default=None, description="Most bytes written in a second.")
    read_operations_per_second: Operations | None = Field(default=None, description="Most reads in a second.")
    write_operations_per_second: Operations | None = Field(default=None, description="Most writes in a second.")

    @model_validator(mode="after")
    def _limits_somebody(self) -> Self:
        must_select(self)
        if not self.limits():
            names = ", ".join(str(type(self).model_fields[name].alias) for name in WORDS)
            raise PydanticCustomError("rule", "at least one of {names}", {"names": names})
        return self

    def limits(self) -> dict[str, int]:
        """The limits that are said, by the kernel's words."""
        return {word: getattr(self, name) for name, word in WORDS.items() if getattr(self, name) is not None}


FAULT = FaultType(
    type="disk_throttle",
    kind="continuous",
    parameters=DiskThrottleParameters,
    summary="processes read and write a disk more slowly, by io.max of their control group",
    needs=("ioController",),
    protocol=None,
    recovery_seconds=0.5,
    deed="while it was to be throttled",
    example={"name": "checkout*", "path": "/var/lib/checkout", "writeBytesPerSecond": 1_048_576},
)

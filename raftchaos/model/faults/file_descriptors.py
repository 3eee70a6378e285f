"""file_descriptors: processes of the node can open no more files, or many files of the host are open."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultParameters, FaultType
from raftchaos.model.faults.selection import ProcessSelection


class FileDescriptorsParameters(ProcessSelection, FaultParameters):
    """Leaves the selected processes few or no free file descriptors, or holds many in a process of its own."""

    leave: Annotated[int, Field(ge=0, le=limits.FAULT_DESCRIPTORS)] = Field(
        default=0, description="How many more files each selected process may open (its soft limit); default 0."
    )
    count: Annotated[int, Field(ge=1, le=limits.FAULT_DESCRIPTORS)] | None = Field(
        default=None, description="In place of processes: how many descriptors are held of those that the host has."
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        if (self.count is not None) is self.selects:
            raise PydanticCustomError(
                "rule", "either count, or pidFile, name, commandLine, port, container or containerLabel"
            )
        return self


FAULT = FaultType(
    type="file_descriptors",
    kind="continuous",
    parameters=FileDescriptorsParameters,
    summary="processes can open no more files and connections, or many files of the host are open",
    needs=(),
    protocol=None,
    recovery_seconds=1.5,
    deed="while its files were to be limited",
    example={"name": "checkout*"},
)

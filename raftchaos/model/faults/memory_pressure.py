"""memory_pressure: memory of the node is held."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos.model.faults.base import FaultParameters, FaultType
from raftchaos.model.faults.selection import Bytes, Percent


class MemoryPressureParameters(FaultParameters):
    """Holds memory, as much of it as leaves the host a floor of 256 MiB or a twentieth, whichever is more."""

    bytes: Bytes | None = Field(default=None, description="How many bytes are held.")
    percent: Percent | None = Field(
        default=None, description="How much is held in percent of the machine's memory, above 0, at most 100."
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        if (self.bytes is None) is (self.percent is None):
            raise PydanticCustomError("rule", "either bytes or percent")
        return self


FAULT = FaultType(
    type="memory_pressure",
    kind="continuous",
    parameters=MemoryPressureParameters,
    summary="memory is held, down to a floor that keeps the host alive",
    needs=(),
    protocol=None,
    recovery_seconds=1.5,
    deed="while it was to be held",
    example={"percent": 50},
)

"""process_pause: processes of the node stand still, and go on afterwards."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from raftchaos.model.faults.base import FaultParameters, FaultType
from raftchaos.model.faults.selection import ProcessSelection, must_select


class ProcessPauseParameters(ProcessSelection, FaultParameters):
    """Stops processes (SIGSTOP); they keep their memory, their files and their connections, and answer nothing."""

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        must_select(self)
        return self


FAULT = FaultType(
    type="process_pause",
    kind="continuous",
    parameters=ProcessPauseParameters,
    summary="processes stand still, with their connections open, and go on afterwards",
    needs=(),
    protocol=None,
    recovery_seconds=0.5,
    deed="while it was to stand still",
    example={"name": "checkout*"},
)

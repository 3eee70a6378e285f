"""clock_offset: a command is started under a clock that is wrong."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultParameters, FaultType
from raftchaos.model.faults.command import Command


def _offset(seconds: float) -> float:
    if seconds == 0:
        raise PydanticCustomError("rule", "an offset other than 0, or nothing would be wrong")
    return seconds


class ClockOffsetParameters(FaultParameters):
    """Runs a command with libfaketime. Programs that do not use the C library see the real clock."""

    command: Command = Field(
        description="An executable of the folder that the operator of the peer allows (by its file name), and its "
        "arguments; run without a shell, ended with the fault.",
    )
    offset_seconds: Annotated[
        float,
        Field(ge=-limits.FAULT_CLOCK_OFFSET, le=limits.FAULT_CLOCK_OFFSET, allow_inf_nan=False),
        AfterValidator(_offset),
    ] = Field(default=3600.0, description="How far its clock is ahead, in seconds, negative for behind; default 3600.")


FAULT = FaultType(
    type="clock_offset",
    kind="continuous",
    parameters=ClockOffsetParameters,
    summary="a command of the operator's runs under a clock that is ahead or behind",
    needs=("faketime",),
    protocol=None,
    recovery_seconds=1.4,
    deed="while its clock was wrong",
    example={"command": ["checkout"], "offsetSeconds": 3600},
)

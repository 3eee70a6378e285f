"""process_restart: a service of the node is restarted, as systemd or a command of its operator does it."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos.model.faults.base import FaultType, OneShotParameters
from raftchaos.model.faults.command import Command
from raftchaos.model.faults.selection import SELECTION_RULE, ProcessSelection

_UNIT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.\\@-]*\.(?:service|socket|target|scope)")


def _unit(text: str) -> str:
    if _UNIT.fullmatch(text) is None:
        raise PydanticCustomError("rule", "the full name of a systemd unit, such as nginx.service")
    return text


class ProcessRestartParameters(ProcessSelection, OneShotParameters):
    """Restarts a systemd unit, or runs a command that restarts the selected processes."""

    unit: Annotated[str, Field(max_length=255), AfterValidator(_unit)] | None = Field(
        default=None, description="A systemd unit with its ending, e.g. nginx.service; needs systemd."
    )
    command: Command | None = Field(
        default=None,
        description="An executable of the folder that the operator of the peer allows (by its file name), and its "
        "arguments; run without a shell. What is restarted is said beside it, so that it can be counted.",
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        if (self.unit is None) is (self.command is None):
            raise PydanticCustomError("rule", "either unit (a systemd unit) or command")
        if self.unit is not None and self.selects:
            raise PydanticCustomError("rule", "a unit alone: it names its processes itself")
        if self.command is not None and not self.selects:
            raise PydanticCustomError("rule", f"beside the command {SELECTION_RULE}")
        return self


FAULT = FaultType(
    type="process_restart",
    kind="oneShot",
    parameters=ProcessRestartParameters,
    summary="a service is restarted, by systemd or by a command that the operator of the peer allows",
    needs=(),
    protocol=None,
    recovery_seconds=1.5,
    deed="when it was to be restarted",
    example={"unit": "checkout.service"},
)

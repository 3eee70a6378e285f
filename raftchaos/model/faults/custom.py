"""custom: an executable pair of the operator puts a fault on and takes it back."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultParameters, FaultType
from raftchaos.model.names import Name

Argument = Annotated[str, Field(max_length=limits.PLUGIN_ARGUMENT)] | bool | int | float


class CustomParameters(FaultParameters):
    """Runs `inject` and later `recover` of a plug-in that the operator of the peer allows. No text of the experiment is
    ever run: it only names the plug-in and gives it values."""

    plugin: Name = Field(description="Name of a folder in the peer's --plugins folder, with `inject` and `recover`.")
    arguments: dict[Annotated[str, Field(min_length=1, max_length=limits.NAME)], Argument] = Field(
        default_factory=dict,
        max_length=limits.PLUGIN_ARGUMENTS,
        description="Values that both executables get as JSON in RAFTCHAOS_ARGUMENTS: texts, numbers, true or false.",
    )


FAULT = FaultType(
    type="custom",
    kind="continuous",
    parameters=CustomParameters,
    summary="an executable pair that the operator of the peer allows puts it on and takes it back",
    needs=("plugins",),
    protocol=None,
    recovery_seconds=1.5,
    deed="while its plug-in was on",
    example={"plugin": "maintenance-page"},
)

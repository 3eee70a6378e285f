"""cpu_load: processors of the node are kept busy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultParameters, FaultType
from raftchaos.model.faults.selection import Percent


class CpuLoadParameters(FaultParameters):
    """Burns CPU time in processes of its own."""

    workers: Annotated[int, Field(ge=1, le=limits.FAULT_WORKERS)] | None = Field(
        default=None, description="Busy processes, each takes at most one CPU; absent: one for each CPU of the peer."
    )
    percent: Percent = Field(
        default=100.0, description="Part of its time that each of them is busy, above 0, at most 100; default 100."
    )


FAULT = FaultType(
    type="cpu_load",
    kind="continuous",
    parameters=CpuLoadParameters,
    summary="CPUs are kept busy, as by a neighbour that computes",
    needs=(),
    protocol=None,
    recovery_seconds=1.5,
    deed="while it was to be loaded",
)

"""The fault cpu_load: keeps CPUs busy. Its parameters stand in `model.faults.cpu_load`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from raftchaos.faults.base import Host, NodeContext
from raftchaos.faults.resources.helper_fault import HelperFault
from raftchaos.model.faults.cpu_load import FAULT, CpuLoadParameters


class CpuLoad(HelperFault[CpuLoadParameters]):
    """The target is `cpu`."""

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The CPUs of the machine, as one."""
        self.read(parameters)
        return ("cpu",)

    def order(self, wanted: CpuLoadParameters, target: str, files: list[str]) -> dict[str, Any]:
        """As many workers as this peer may use CPUs, unless another number was said."""
        return {"workers": wanted.workers or len(os.sched_getaffinity(0)), "percent": wanted.percent}


def make(host: Host) -> CpuLoad:
    """The fault."""
    return CpuLoad(FAULT, CpuLoadParameters, host)

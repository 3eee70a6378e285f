"""The fault memory_pressure: holds memory. Its parameters stand in `model.faults.memory_pressure`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raftchaos.errors import Refused
from raftchaos.faults.base import Host, NodeContext
from raftchaos.faults.resources import host_memory
from raftchaos.faults.resources.helper_fault import HelperFault
from raftchaos.faults.resources.loads.memory import CHUNK
from raftchaos.model.faults.memory_pressure import FAULT, MemoryPressureParameters


class MemoryPressure(HelperFault[MemoryPressureParameters]):
    """The target is `memory`."""

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The memory of the machine. Refused where nothing could be held."""
        wanted = self._wanted(self.read(parameters))
        room = host_memory.available() - host_memory.floor()
        if room < min(wanted, CHUNK):
            raise Refused(
                f"{host_memory.available()} bytes of memory are available on {node.name}, of which "
                f"{host_memory.floor()} are to stay so: nothing can be held",
                hint="choose a node with more free memory",
            )
        return ("memory",)

    def order(self, wanted: MemoryPressureParameters, target: str, files: list[str]) -> dict[str, Any]:
        """How much, and what stays available."""
        return {"bytes": self._wanted(wanted), "floor": host_memory.floor()}

    def _wanted(self, wanted: MemoryPressureParameters) -> int:
        if wanted.bytes is not None:
            return wanted.bytes
        assert wanted.percent is not None
        return max(int(host_memory.total() * wanted.percent / 100), 1)


def make(host: Host) -> MemoryPressure:
    """The fault."""
    return MemoryPressure(FAULT, MemoryPressureParameters, host)

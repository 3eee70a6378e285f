"""The loads: what a helper process does until it is told to stop. Each is made of parameters that were checked."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final, Protocol

LOADS: Final = {
    "clock_offset": "raftchaos.faults.resources.loads.faketime:FaketimeLoad",
    "cpu_load": "raftchaos.faults.resources.loads.cpu:CpuLoad",
    "memory_pressure": "raftchaos.faults.resources.loads.memory:MemoryLoad",
    "disk_fill": "raftchaos.faults.resources.loads.disk_space:DiskSpaceLoad",
    "disk_io_load": "raftchaos.faults.resources.loads.disk_io:DiskIoLoad",
    "dns_answer": "raftchaos.faults.network.resolver:DnsAnswerLoad",
    "file_descriptors": "raftchaos.faults.resources.loads.descriptors:DescriptorLoad",
}


class LoadFailed(Exception):
    """A load cannot begin; says why."""


class Load(Protocol):
    """One load of one helper process."""

    def start(self) -> None:
        """Begin. Raises `LoadFailed` and OSError."""
        ...

    def work(self) -> float:
        """A little of the work; returns after how many seconds there is more to do."""
        ...

    def stop(self) -> None:
        """Give everything back."""
        ...

    def effect(self) -> dict[str, int]:
        """What it has done so far, `touched` among it."""
        ...


def make_load(name: str, parameters: Mapping[str, Any]) -> Load:
    """The load of that name."""
    module, _, cls = LOADS[name].partition(":")
    made: Load = getattr(importlib.import_module(module), cls)(parameters)
    return made

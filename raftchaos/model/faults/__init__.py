"""The catalogue of faults, as documents know them: one file a fault, registered here by its name.

This says what may be written; what a fault does to the world stands where it is done.
"""

from __future__ import annotations

from typing import Final

from raftchaos.model.faults import (
    cpu_load,
    disk_fill,
    disk_io_load,
    disk_throttle,
    file_descriptors,
    http_error,
    latency,
    memory_pressure,
    process_kill,
    process_pause,
    process_restart,
    reset_peer,
)
from raftchaos.model.faults.base import FaultParameters, FaultType, OneShotParameters, Parameters, ProxyFaultParameters

_MODULES: Final = (
    cpu_load,
    disk_fill,
    disk_io_load,
    disk_throttle,
    file_descriptors,
    http_error,
    latency,
    memory_pressure,
    process_kill,
    process_pause,
    process_restart,
    reset_peer,
)

FAULTS: Final[dict[str, FaultType]] = {
    module.FAULT.type: module.FAULT for module in sorted(_MODULES, key=lambda module: module.FAULT.type)
}
"""Every fault by its type, in the order of their names."""

__all__ = ["FAULTS", "FaultParameters", "FaultType", "OneShotParameters", "Parameters", "ProxyFaultParameters"]

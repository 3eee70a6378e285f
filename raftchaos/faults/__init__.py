"""What is done to the world: one file a fault, `inject` and `recover` for one target, and the undo journal.

The reaper imports this package and must stay tiny, so nothing heavy is imported here: a fault's module is loaded when
it is first asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from raftchaos.faults.base import Fault, Host

FAULT_MODULES: Final = {
    "cpu_load": "raftchaos.faults.cpu_load",
    "custom": "raftchaos.faults.custom",
    "disk_fill": "raftchaos.faults.disk_fill",
    "disk_io_load": "raftchaos.faults.disk_io_load",
    "disk_throttle": "raftchaos.faults.disk_throttle",
    "file_descriptors": "raftchaos.faults.file_descriptors",
    "http_error": "raftchaos.faults.http_error",
    "latency": "raftchaos.faults.latency",
    "memory_pressure": "raftchaos.faults.memory_pressure",
    "process_kill": "raftchaos.faults.process_kill",
    "process_pause": "raftchaos.faults.process_pause",
    "process_restart": "raftchaos.faults.process_restart",
    "reset_peer": "raftchaos.faults.reset_peer",
}
"""Where each fault type of this release is done. Each module has `make(host: Host) -> Fault`."""


def build_faults(host: Host, only: Iterable[str] | None = None) -> dict[str, Fault]:
    """Every fault of this release, or those of `only`, by its type. Whether this machine can do it, it says itself."""
    names = sorted(FAULT_MODULES if only is None else only)
    return {name: importlib.import_module(FAULT_MODULES[name]).make(host) for name in names}

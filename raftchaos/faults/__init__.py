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
    "bandwidth": "raftchaos.faults.bandwidth",
    "clock_offset": "raftchaos.faults.clock_offset",
    "connection_limit": "raftchaos.faults.connection_limit",
    "corrupt": "raftchaos.faults.corrupt",
    "cpu_load": "raftchaos.faults.cpu_load",
    "custom": "raftchaos.faults.custom",
    "disk_fill": "raftchaos.faults.disk_fill",
    "disk_io_load": "raftchaos.faults.disk_io_load",
    "disk_throttle": "raftchaos.faults.disk_throttle",
    "dns_answer": "raftchaos.faults.dns_answer",
    "dns_failure": "raftchaos.faults.dns_failure",
    "file_descriptors": "raftchaos.faults.file_descriptors",
    "graphql": "raftchaos.faults.graphql",
    "grpc": "raftchaos.faults.grpc",
    "http_abort": "raftchaos.faults.http_abort",
    "http_corrupt": "raftchaos.faults.http_corrupt",
    "http_error": "raftchaos.faults.http_error",
    "http_headers": "raftchaos.faults.http_headers",
    "http_partial": "raftchaos.faults.http_partial",
    "http_replace": "raftchaos.faults.http_replace",
    "http_timeout": "raftchaos.faults.http_timeout",
    "latency": "raftchaos.faults.latency",
    "limit_data": "raftchaos.faults.limit_data",
    "limit_time": "raftchaos.faults.limit_time",
    "memory_pressure": "raftchaos.faults.memory_pressure",
    "network_bandwidth": "raftchaos.faults.network_bandwidth",
    "network_delay": "raftchaos.faults.network_delay",
    "packet_loss": "raftchaos.faults.packet_loss",
    "partition": "raftchaos.faults.partition",
    "process_kill": "raftchaos.faults.process_kill",
    "process_pause": "raftchaos.faults.process_pause",
    "process_restart": "raftchaos.faults.process_restart",
    "rate_limit": "raftchaos.faults.rate_limit",
    "refuse": "raftchaos.faults.refuse",
    "reject": "raftchaos.faults.reject",
    "reset_peer": "raftchaos.faults.reset_peer",
    "slicer": "raftchaos.faults.slicer",
    "slow_close": "raftchaos.faults.slow_close",
    "timeout": "raftchaos.faults.timeout",
    "websocket": "raftchaos.faults.websocket",
}
"""Where each fault type of this release is done. Each module has `make(host: Host) -> Fault`."""


def build_fault(host: Host, name: str) -> Fault:
    """A fault of this release by its type. Whether this machine can do it, it says itself."""
    made: Fault = importlib.import_module(FAULT_MODULES[name]).make(host)
    return made


def build_faults(host: Host, only: Iterable[str] | None = None) -> dict[str, Fault]:
    """Every fault of this release, or those of `only`, by its type."""
    return {name: build_fault(host, name) for name in sorted(FAULT_MODULES if only is None else only)}

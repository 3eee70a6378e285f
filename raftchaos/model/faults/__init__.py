"""The catalogue of faults, as documents know them: one file a fault, registered here by its name.

This says what may be written; what a fault does to the world stands where it is done.
"""

from __future__ import annotations

from typing import Final

from raftchaos.model.faults import (
    bandwidth,
    clock_offset,
    connection_limit,
    corrupt,
    cpu_load,
    custom,
    disk_fill,
    disk_io_load,
    disk_throttle,
    dns_answer,
    dns_failure,
    file_descriptors,
    graphql,
    grpc,
    http_abort,
    http_corrupt,
    http_error,
    http_headers,
    http_partial,
    http_replace,
    http_timeout,
    latency,
    limit_data,
    limit_time,
    memory_pressure,
    network_bandwidth,
    network_delay,
    packet_loss,
    partition,
    process_kill,
    process_pause,
    process_restart,
    rate_limit,
    refuse,
    reject,
    reset_peer,
    slicer,
    slow_close,
    timeout,
    websocket,
)
from raftchaos.model.faults.base import FaultParameters, FaultType, OneShotParameters, Parameters
from raftchaos.model.faults.proxied import ProxyFaultParameters

_MODULES: Final = (
    bandwidth,
    clock_offset,
    connection_limit,
    corrupt,
    cpu_load,
    custom,
    disk_fill,
    disk_io_load,
    disk_throttle,
    dns_answer,
    dns_failure,
    file_descriptors,
    graphql,
    grpc,
    http_abort,
    http_corrupt,
    http_error,
    http_headers,
    http_partial,
    http_replace,
    http_timeout,
    latency,
    limit_data,
    limit_time,
    memory_pressure,
    network_bandwidth,
    network_delay,
    packet_loss,
    partition,
    process_kill,
    process_pause,
    process_restart,
    rate_limit,
    refuse,
    reject,
    reset_peer,
    slicer,
    slow_close,
    timeout,
    websocket,
)

FAULTS: Final[dict[str, FaultType]] = {
    module.FAULT.type: module.FAULT for module in sorted(_MODULES, key=lambda module: module.FAULT.type)
}
"""Every fault by its type, in the order of their names."""

__all__ = ["FAULTS", "FaultParameters", "FaultType", "OneShotParameters", "Parameters", "ProxyFaultParameters"]

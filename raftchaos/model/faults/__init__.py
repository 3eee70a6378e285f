"""The catalogue of faults, as documents know them: one file a fault, registered here by its name.

This says what may be written; what a fault does to the world stands where it is done.
"""

from __future__ import annotations

from typing import Final

from raftchaos.model.faults import http_error, latency, reset_peer
from raftchaos.model.faults.base import FaultParameters, FaultType, OneShotParameters, Parameters, ProxyFaultParameters

FAULTS: Final[dict[str, FaultType]] = {
    module.FAULT.type: module.FAULT for module in sorted((latency, http_error, reset_peer), key=lambda m: m.FAULT.type)
}
"""Every fault by its type, in the order of their names."""

__all__ = ["FAULTS", "FaultParameters", "FaultType", "OneShotParameters", "Parameters", "ProxyFaultParameters"]

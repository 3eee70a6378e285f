"""The fault slicer: lets a proxy cut data into pieces. Its parameters stand in `model.faults.slicer`."""

from __future__ import annotations

from raftchaos.faults.base import Host
from raftchaos.faults.proxy_fault import ProxyFault
from raftchaos.model.faults.slicer import FAULT


def make(host: Host) -> ProxyFault:
    """The fault, done by the proxy process of this peer."""
    return ProxyFault(FAULT, host)

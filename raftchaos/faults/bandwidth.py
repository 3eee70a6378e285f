"""The fault bandwidth: lets a proxy relay no faster than a limit. Its parameters stand in `model.faults.bandwidth`."""

from __future__ import annotations

from raftchaos.faults.base import Host
from raftchaos.faults.proxy_fault import ProxyFault
from raftchaos.model.faults.bandwidth import FAULT


def make(host: Host) -> ProxyFault:
    """The fault, done by the proxy process of this peer."""
    return ProxyFault(FAULT, host)

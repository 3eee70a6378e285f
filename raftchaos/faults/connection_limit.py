"""The fault connection_limit: lets a proxy take only so many connections.

Its parameters stand in `model.faults.connection_limit`.
"""

from __future__ import annotations

from raftchaos.faults.base import Host
from raftchaos.faults.proxy_fault import ProxyFault
from raftchaos.model.faults.connection_limit import FAULT


def make(host: Host) -> ProxyFault:
    """The fault, done by the proxy process of this peer."""
    return ProxyFault(FAULT, host)

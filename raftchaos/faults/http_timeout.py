"""The fault http_timeout: lets a proxy hold requests. Its parameters stand in `model.faults.http_timeout`."""

from __future__ import annotations

from raftchaos.faults.base import Host
from raftchaos.faults.proxy_fault import ProxyFault
from raftchaos.model.faults.http_timeout import FAULT


def make(host: Host) -> ProxyFault:
    """The fault, done by the proxy process of this peer."""
    return ProxyFault(FAULT, host)

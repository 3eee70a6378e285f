"""The fault http_error: lets a proxy answer HTTP requests with an error.

Its parameters stand in `model.faults.http_error`.
"""

from __future__ import annotations

from raftchaos.faults.base import Host
from raftchaos.faults.proxy_fault import ProxyFault
from raftchaos.model.faults.http_error import FAULT


def make(host: Host) -> ProxyFault:
    """The fault, done by the proxy process of this peer."""
    return ProxyFault(FAULT, host)

"""The fault reset_peer: lets a proxy reset connections. Its parameters stand in `model.faults.reset_peer`."""

from __future__ import annotations

from raftchaos.core.interfaces import ProxyControl
from raftchaos.faults.proxy_fault import ProxyFault
from raftchaos.model.faults.reset_peer import FAULT


def make(proxy: ProxyControl) -> ProxyFault:
    """The fault, done by this proxy process."""
    return ProxyFault(FAULT, proxy)

"""The fault latency: delays the data that a proxy relays. Its parameters stand in `model.faults.latency`."""

from __future__ import annotations

from raftchaos.core.interfaces import ProxyControl
from raftchaos.faults.proxy_fault import ProxyFault
from raftchaos.model.faults.latency import FAULT


def make(proxy: ProxyControl) -> ProxyFault:
    """The fault, done by this proxy process."""
    return ProxyFault(FAULT, proxy)

"""The fault http_error: lets a proxy answer HTTP requests with an error.

Its parameters stand in `model.faults.http_error`.
"""

from __future__ import annotations

from raftchaos.core.interfaces import ProxyControl
from raftchaos.faults.proxy_fault import ProxyFault
from raftchaos.model.faults.http_error import FAULT


def make(proxy: ProxyControl) -> ProxyFault:
    """The fault, done by this proxy process."""
    return ProxyFault(FAULT, proxy)

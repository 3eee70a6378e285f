"""The fault graphql: lets a proxy change the responses to GraphQL operations.

Its parameters stand in `model.faults.graphql`.
"""

from __future__ import annotations

from raftchaos.faults.base import Host
from raftchaos.faults.proxy_fault import ProxyFault
from raftchaos.model.faults.graphql import FAULT


def make(host: Host) -> ProxyFault:
    """The fault, done by the proxy process of this peer."""
    return ProxyFault(FAULT, host)

"""The fault reject: packets are refused, and the sender is told. Its parameters stand in `model.faults.reject`."""

from __future__ import annotations

from raftchaos.faults.base import Host
from raftchaos.faults.network.hosts_fault import HostsFault
from raftchaos.faults.network.rules import rejecting
from raftchaos.model.faults.reject import FAULT, RejectParameters


def make(host: Host) -> HostsFault[RejectParameters]:
    """The fault, done by nftables."""
    return HostsFault(FAULT, RejectParameters, host, lambda wanted: rejecting(wanted.answer))

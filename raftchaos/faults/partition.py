"""The fault partition: packets to and from hosts vanish. Its parameters stand in `model.faults.partition`."""

from __future__ import annotations

from raftchaos.faults.base import Host
from raftchaos.faults.network.hosts_fault import HostsFault
from raftchaos.faults.network.rules import dropping
from raftchaos.model.faults.partition import FAULT, PartitionParameters


def make(host: Host) -> HostsFault[PartitionParameters]:
    """The fault, done by nftables."""
    return HostsFault(FAULT, PartitionParameters, host, lambda wanted: dropping(100))

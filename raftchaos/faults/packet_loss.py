"""The fault packet_loss: part of the packets vanish. Its parameters stand in `model.faults.packet_loss`."""

from __future__ import annotations

from raftchaos.faults.base import Host
from raftchaos.faults.network.hosts_fault import HostsFault
from raftchaos.faults.network.rules import dropping
from raftchaos.model.faults.packet_loss import FAULT, PacketLossParameters


def make(host: Host) -> HostsFault[PacketLossParameters]:
    """The fault, done by nftables."""
    return HostsFault(FAULT, PacketLossParameters, host, lambda wanted: dropping(wanted.percent))

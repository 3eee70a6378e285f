"""The fault network_bandwidth: a slow link. Its parameters stand in `model.faults.network_bandwidth`."""

from __future__ import annotations

from typing import Final

from raftchaos.faults.base import Host
from raftchaos.faults.network import queues
from raftchaos.faults.network.places import Place
from raftchaos.faults.network.queue_fault import QueueFault
from raftchaos.faults.network.rules import Deed, classifying, policing
from raftchaos.model.faults.network_bandwidth import FAULT, NetworkBandwidthParameters

_INCOMING_BURST: Final = 65_536
"""Bytes: the kernel puts segments together on their way in, and drops them as one."""


class NetworkBandwidth(QueueFault[NetworkBandwidthParameters]):
    """What goes out is queued, what comes in is policed."""

    part = queues.LIMIT

    def direction(self, wanted: NetworkBandwidthParameters) -> str:
        """As the parameters say."""
        return wanted.direction

    def deed(self, wanted: NetworkBandwidthParameters) -> Deed:
        """Both ways at the same rate."""
        return Deed(policing(_rate(wanted), _INCOMING_BURST), classifying(queues.classes_of(self._handle, self.part)))

    def put(self, place: Place, interface: str, wanted: NetworkBandwidthParameters) -> None:
        """The limited class."""
        queues.limit(place, interface, self._handle, _rate(wanted), self._host.inherited)


def _rate(wanted: NetworkBandwidthParameters) -> int:
    return round(wanted.kilobytes_per_second * 1000)


def make(host: Host) -> NetworkBandwidth:
    """The fault, done by nftables and traffic control."""
    return NetworkBandwidth(FAULT, NetworkBandwidthParameters, host)

"""The fault network_delay: late packets. Its parameters stand in `model.faults.network_delay`."""

from __future__ import annotations

from raftchaos.faults.base import Host
from raftchaos.faults.network import queues
from raftchaos.faults.network.places import Place
from raftchaos.faults.network.queue_fault import QueueFault
from raftchaos.faults.network.rules import Deed, classifying
from raftchaos.model.faults.network_delay import FAULT, NetworkDelayParameters


class NetworkDelay(QueueFault[NetworkDelayParameters]):
    """What goes out passes netem."""

    part = queues.DELAY

    def direction(self, wanted: NetworkDelayParameters) -> str:
        """The kernel delays what it sends."""
        return "outgoing"

    def deed(self, wanted: NetworkDelayParameters) -> Deed:
        """Into the delayed class."""
        return Deed(outgoing=classifying(queues.classes_of(self._handle, self.part)))

    def put(self, place: Place, interface: str, wanted: NetworkDelayParameters) -> None:
        """The delayed classes."""
        queues.delay(place, interface, self._handle, netem(wanted), self._host.inherited)


def netem(wanted: NetworkDelayParameters) -> list[str]:
    """The words of tc-netem(8)."""
    words = ["delay", f"{round(wanted.delay_ms * 1000)}us", f"{round(wanted.jitter_ms * 1000)}us"]
    for name, percent in (
        ("duplicate", wanted.duplicate_percent),
        ("reorder", wanted.reorder_percent),
        ("corrupt", wanted.corrupt_percent),
    ):
        words += [name, f"{percent:f}%"] if percent else []
    return words


def make(host: Host) -> NetworkDelay:
    """The fault, done by nftables and netem."""
    return NetworkDelay(FAULT, NetworkDelayParameters, host)

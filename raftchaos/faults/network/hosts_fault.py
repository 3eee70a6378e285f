"""Faults of the packets between this node and hosts, which a table of nftables does alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from raftchaos.faults.base import Host
from raftchaos.faults.network.fault import TableFault
from raftchaos.faults.network.rules import Deed, Traffic
from raftchaos.model.faults import FaultType
from raftchaos.model.faults.network import NetworkParameters, port_range

P = TypeVar("P", bound=NetworkParameters)


class HostsFault(TableFault[P], Generic[P]):
    """The target is `network:<which packets>`."""

    def __init__(self, catalogue: FaultType, parameters: type[P], host: Host, deed: Callable[[P], Deed]) -> None:
        """`deed` says what becomes of the packets, by the parameters."""
        super().__init__(catalogue, parameters, host)
        self._deed = deed

    def traffic(self, wanted: P, interface: str) -> Traffic:
        """As the parameters say."""
        return traffic_of(wanted, interface, getattr(wanted, "direction", "outgoing"))

    def deed(self, wanted: P) -> Deed:
        """What this fault does."""
        return self._deed(wanted)

    def hosts(self, wanted: P) -> Sequence[str] | None:
        """As the parameters say."""
        return wanted.hosts


def traffic_of(wanted: NetworkParameters, interface: str, direction: str) -> Traffic:
    """Which packets, the hosts left out."""
    return Traffic(
        interface=interface,
        protocol=wanted.protocol or "",
        ports=tuple(port_range(port) for port in wanted.ports or ()),
        local_ports=tuple(port_range(port) for port in wanted.local_ports or ()),
        incoming=direction in ("both", "incoming"),
        outgoing=direction in ("both", "outgoing"),
    )

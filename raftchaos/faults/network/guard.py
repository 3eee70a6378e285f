"""The net that keeps an experiment from cutting its own peer off. Pure.

A rule is refused if it names neither a host nor a port, if it takes the whole of loopback, or if it touches what the
peers of the cluster need to talk to each other: connections from here to an address of another peer, and connections of
others to a port of ours. An experiment disarms the net by its name, `safety.disarm: [selfHarm]`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from raftchaos.errors import Refused
from raftchaos.faults.network.rules import Ports, Traffic
from raftchaos.model.safety import SELF_HARM

_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_LOOPBACK_HOSTS: Final = (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128"))
HINT: Final = f"name other hosts or ports, or say `safety: {{disarm: [{SELF_HARM}]}}` if it is meant so"
_MANY: Final = 0.1
"""Part of the ports that connections come from; a rule that touches less leaves enough of them."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def split_cluster(addresses: Iterable[str]) -> tuple[list[tuple[Address, int]], list[tuple[str, int]]]:
    """The HOST:PORT of a cluster: those with an IP address, and those with a name. This peer's ports on loopback are
    among the first."""
    known: list[tuple[Address, int]] = []
    named: list[tuple[str, int]] = []
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            known.append((ipaddress.ip_address(host.strip("[]")), int(port)))
        except ValueError:
            named.append((host, int(port)))
    ports = sorted({port for _, port in (*known, *named)})
    return [*known, *((network[0], port) for port in ports for network in _LOOPBACK_HOSTS)], named


def check(traffic: Traffic, *, own: bool, cluster: Sequence[tuple[Address, int]], ephemeral: tuple[int, int]) -> None:
    """Raises `Refused`, with the reason, for traffic that must not be touched.

    `own` says that it is the network namespace of the peer; `cluster` are the addresses of the peers there, their names
    looked up; `ephemeral` are the ports that outgoing connections come from.
    """
    if traffic.broad:
        raise Refused("the fault names neither a host nor a port, so it would cut off everything", hint=HINT)
    if not own:
        return
    if not traffic.ports and not traffic.local_ports and _is_loopback(traffic):
        raise Refused("the fault would cut this peer off from loopback", hint=HINT)
    for address, port in cluster:
        if _touches(traffic, address, port, {each for _, each in cluster}, ephemeral):
            raise Refused(
                f"the fault would cut this peer off from its own cluster: it touches what {address} and this peer say "
                f"to each other (port {port})",
                hint=HINT,
            )


def _is_loopback(traffic: Traffic) -> bool:
    return traffic.interface == "lo" or any(
        network.overlaps(loopback)
        for network in traffic.hosts or ()
        for loopback in _LOOPBACK
        if network.version == loopback.version
    )


def _touches(
    traffic: Traffic, address: Address, port: int, cluster_ports: Iterable[int], ephemeral: tuple[int, int]
) -> bool:
    if traffic.protocol in ("udp", "icmp") or not _reaches(traffic, address):
        return False
    called = _has(traffic.ports, port) and _most(traffic.local_ports, ephemeral)
    served = any(_has(traffic.local_ports, each) for each in cluster_ports) and _most(traffic.ports, ephemeral)
    return called or served


def _reaches(traffic: Traffic, address: Address) -> bool:
    """Whether packets of this other end are meant. Nobody knows which interface they take, loopback's own excepted."""
    if traffic.hosts is not None and not any(
        network.version == address.version and address in network for network in traffic.hosts
    ):
        return False
    if traffic.interface:
        return (traffic.interface == "lo") is address.is_loopback
    return traffic.hosts is not None or traffic.loopback or not address.is_loopback


def _has(ports: Ports, port: int) -> bool:
    return not ports or any(first <= port <= last for first, last in ports)


def _most(ports: Ports, ephemeral: tuple[int, int]) -> bool:
    """Whether a condition on the port of a caller leaves too few ports for others."""
    if not ports:
        return True
    low, high = ephemeral
    taken = sum(max(0, min(last, high) - max(first, low) + 1) for first, last in ports)
    return taken > _MANY * (high - low + 1)

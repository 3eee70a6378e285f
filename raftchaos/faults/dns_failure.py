"""The fault dns_failure: names cannot be looked up. Its parameters stand in `model.faults.dns_failure`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raftchaos.errors import Refused
from raftchaos.faults.base import Host
from raftchaos.faults.network import guard
from raftchaos.faults.network.fault import TableFault
from raftchaos.faults.network.rules import Deed, Traffic, dropping, rejecting
from raftchaos.model.faults.dns_failure import FAULT, DnsFailureParameters

PORTS: Final = ((53, 53), (853, 853))
"""DNS (RFC 1035) and DNS over TLS (RFC 7858)."""
_HOSTS_FILE: Final = Path("/etc/hosts")


class DnsFailure(TableFault[DnsFailureParameters]):
    """The target is `network:<namespace, interface, servers>`."""

    def traffic(self, wanted: DnsFailureParameters, interface: str) -> Traffic:
        """Answers that vanish are incoming: the sender of a question that vanishes would not wait for an answer as
        long as for one that is lost in the network. Questions that are refused are outgoing."""
        silent = wanted.mode == "timeout"
        return Traffic(interface, ports=PORTS, incoming=silent, outgoing=not silent, loopback=True)

    def deed(self, wanted: DnsFailureParameters) -> Deed:
        """Silence, or a closed port."""
        return dropping(wanted.percent) if wanted.mode == "timeout" else rejecting("closed", wanted.percent)

    def hosts(self, wanted: DnsFailureParameters) -> Sequence[str] | None:
        """The name servers."""
        return wanted.servers

    def look_at_net(
        self, wanted: DnsFailureParameters, traffic: Traffic, own: bool, cluster: Sequence[tuple[guard.Address, int]]
    ) -> None:
        """Besides: peers that this one finds by name would not be found any more."""
        super().look_at_net(wanted, traffic, own, cluster)
        _, named = guard.split_cluster(self._host.cluster_addresses())
        in_file = _HOSTS_FILE.read_text().split() if _HOSTS_FILE.exists() else []
        needed = sorted({name for name, _ in named} - set(in_file))
        if own and needed:
            raise Refused(
                f"the fault would cut this peer off from its own cluster: it finds {', '.join(needed)} by name",
                hint=guard.HINT,
            )


def make(host: Host) -> DnsFailure:
    """The fault, done by nftables."""
    return DnsFailure(FAULT, DnsFailureParameters, host)

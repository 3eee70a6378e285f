"""The text of the table that turns questions to name servers to a resolver on this host. Pure.

No connection tracking takes part: what it remembers would outlive the fault. Each server has a port of the resolver, so
that an answer from it gets the server's address back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from raftchaos.faults.network.rules import live_set

OWN: Final = 0x72616673
"""Mark of the resolver's own questions, which go to the servers."""
_PRIORITY: Final = -310
"""Before the other tables of ours, which see a question on its way to the resolver."""
_DNS: Final = 53


def redirect_text(name: str, comment: str, servers: Sequence[tuple[str, int]], timeout: float) -> str:
    """The input of `nft -f`: `servers` are addresses with the ports of the resolver; live for so many seconds."""
    away, back = [], []
    for server, port in servers:
        address = ipaddress.ip_address(server.partition("%")[0])
        family, here = ("ip", "127.0.0.1") if address.version == 4 else ("ip6", "::1")
        for protocol in ("udp", "tcp"):
            away.append(
                f"meta nfproto @live {family} daddr {address} {protocol} dport {_DNS} notrack "
                f"{family} daddr set {here} {protocol} dport set {port}"
            )
            back.append(
                f"{family} saddr {here} {protocol} sport {port} notrack "
                f"{family} saddr set {address} {protocol} sport set {_DNS}"
            )
    lines = [
        f"add table inet {name}",
        f"delete table inet {name}",
        f"table inet {name} {{",
        f'comment "{comment}"',
        live_set(timeout),
        "chain back {",
        f"type filter hook output priority {_PRIORITY}; policy accept;",
        *back,
        "}",
        "chain away {",
        f"type route hook output priority {_PRIORITY}; policy accept;",
        f"meta mark {OWN} accept",
        *away,
        "}",
        "}",
        "",
    ]
    return "\n".join(lines)

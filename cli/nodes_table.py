"""How nodes are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raftchaos.cli.output import plain, table, word

if TYPE_CHECKING:
    from rich.table import Table


def nodes_table(nodes: Sequence[dict[str, Any]]) -> Table:
    """A table of nodes, one row each."""
    rows = table(
        "node", "status", "part", "API", "labels", "proxies", "live runs", right=["live runs"], firm=["node", "API"]
    )
    for node in nodes:
        part = "leader" if node["leader"] else node.get("role") or ("voter" if node["voter"] else "-")
        behind = f" ({node['behind']} entries behind)" if node.get("behind") else ""
        status = word(node["status"]) + (f", {word('drained')}" if node["drained"] else "")
        labels = ", ".join(f"{key}={value}" for key, value in sorted(node["labels"].items()))
        rows.add_row(
            plain(node["name"]),
            status + (f" ({plain('; '.join(node['reasons']))})" if node["reasons"] else ""),
            word(part) + behind,
            plain(node["apiAddress"]),
            plain(labels),
            plain(", ".join(node["proxies"])),
            str(len(node["liveRuns"])),
        )
    return rows

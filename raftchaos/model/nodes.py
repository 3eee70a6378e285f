"""A node: the record of a peer in the replicated registry."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class NodeStatus(StrEnum):
    """Whether a node answers the leader, and how well."""

    ACTIVE = "active"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Node:
    """One peer. Its identity is its name; addresses are data and may change."""

    name: str
    incarnation: int
    """Grows with every start of the peer; never reused."""
    directory: str
    """Id of its data directory. A peer without its data directory is a new member."""
    raft_address: str
    api_address: str
    status: NodeStatus = NodeStatus.ACTIVE
    drained: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    """What its machine can do, as the `needs` of the faults name it."""
    proxies: tuple[str, ...] = ()
    """Names of its proxies."""
    version: str = ""
    failed_index: int = 0
    """Index of the last NodeFailed about it; a ping must show this applied before it becomes active again."""
    reasons: tuple[str, ...] = ()
    """Why it is degraded or failed."""

    @property
    def schedulable(self) -> bool:
        """Whether new runs may be given to it."""
        return self.status is NodeStatus.ACTIVE and not self.drained

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for msgpack and JSON."""
        return {
            "name": self.name,
            "incarnation": self.incarnation,
            "directory": self.directory,
            "raftAddress": self.raft_address,
            "apiAddress": self.api_address,
            "status": str(self.status),
            "drained": self.drained,
            "labels": dict(self.labels),
            "capabilities": list(self.capabilities),
            "proxies": list(self.proxies),
            "version": self.version,
            "failedIndex": self.failed_index,
            "reasons": list(self.reasons),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Node:
        """The reverse of `to_dict`."""
        return cls(
            name=data["name"],
            incarnation=data["incarnation"],
            directory=data["directory"],
            raft_address=data["raftAddress"],
            api_address=data["apiAddress"],
            status=NodeStatus(data["status"]),
            drained=data["drained"],
            labels=dict(data["labels"]),
            capabilities=tuple(data["capabilities"]),
            proxies=tuple(data["proxies"]),
            version=data["version"],
            failed_index=data["failedIndex"],
            reasons=tuple(data["reasons"]),
        )

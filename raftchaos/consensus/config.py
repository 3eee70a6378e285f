"""What one replica has to be told."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from raftchaos import limits
from raftchaos.consensus.timings import Timings

Durability = Literal["process", "disk"]
PROCESS: Final = "process"
"""A write that was answered survives the death of every process: it was handed to the kernels of a majority."""
DISK: Final = "disk"
"""A write that was answered survives a power cut of every machine: it was synced to the disks of a majority."""


class PeerTls(Protocol):
    """TLS between peers, as the transport sees it. The contexts are read for each connection, so they may change."""

    @property
    def server(self) -> ssl.SSLContext:
        """For who connects; the same object for as long as the port is open."""
        ...

    @property
    def client(self) -> ssl.SSLContext:
        """For connecting."""
        ...

    def misnamed(self, certificate: Mapping[str, Any] | None, cluster: str, name: str, directory: str | None) -> str:
        """Why the holder of this verified certificate may not speak as that peer; empty if it may."""
        ...

    def revoked(self, directory: str) -> bool:
        """Whether the peer with this data directory was removed."""
        ...

    def explain(self, error: BaseException) -> str:
        """Why a connection failed, in words; empty if it was no matter of TLS."""
        ...


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """Who this replica is and where it listens."""

    name: str
    cluster_id: str
    directory_id: str
    incarnation: int
    data_dir: Path
    listen: str
    """`HOST:PORT` to bind."""
    advertise: str
    """`HOST:PORT` under which the other peers reach it; differs from `listen` behind a NAT or in a container."""
    timings: Timings = field(default_factory=Timings)
    tls: PeerTls | None = None
    """None: plain connections (--insecure)."""
    entries_before_snapshot: int = limits.LOG_ENTRIES_BEFORE_SNAPSHOT
    bytes_before_snapshot: int = limits.LOG_BYTES_BEFORE_SNAPSHOT
    durability: Durability = PROCESS

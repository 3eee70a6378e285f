"""What one replica has to be told."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from raftchaos import limits
from raftchaos.consensus.timings import Timings

Durability = Literal["process", "disk"]
PROCESS: Final = "process"
"""A write that was answered survives the death of every process: it was handed to the kernels of a majority."""
DISK: Final = "disk"
"""A write that was answered survives a power cut of every machine: it was synced to the disks of a majority."""


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
    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None
    entries_before_snapshot: int = limits.LOG_ENTRIES_BEFORE_SNAPSHOT
    bytes_before_snapshot: int = limits.LOG_BYTES_BEFORE_SNAPSHOT
    durability: Durability = PROCESS

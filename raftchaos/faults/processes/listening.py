"""Who listens on a TCP port, from /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from raftchaos.errors import Refused
from raftchaos.faults.processes.proc import Process

_LISTEN: Final = "0A"
"""TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp writes it."""


def on_port(port: int, among: Iterable[Process], of: int = 0) -> frozenset[int]:
    """Those of `among` that listen on a port in the network namespace of the process `of` (0: of this process).

    Raises `Refused` if nobody is found to and some process may not be looked at.
    """
    reference = of or os.getpid()
    wanted = {f"socket:[{inode}]" for inode in _inodes(port, reference)}
    if not wanted:
        return frozenset()
    found, hidden, network = set(), 0, _network(reference)
    for each in among:
        if each.kernel:
            continue
        try:
            if _network(each.pid) == network and wanted.intersection(_files(each.pid)):
                found.add(each.pid)
        except PermissionError:
            hidden += 1
        except OSError:
            continue  # it has ended meanwhile
    if not found and hidden:
        raise Refused(
            f"somebody listens on port {port}, but this peer may not look into {hidden} processes: it lacks the "
            "capability CAP_SYS_PTRACE",
            hint="start the peer as root, or select the process by its name",
        )
    return frozenset(found)


def listening_inodes(table: str, port: int) -> set[str]:
    """The inodes of the listening sockets of a port in the text of /proc/net/tcp or tcp6."""
    found = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
            found.add(fields[9])
    return found


def _inodes(port: int, pid: int) -> set[str]:
    found: set[str] = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):  # a kernel without IPv6, a process that has ended
            found |= listening_inodes(Path(f"/proc/{pid}/net/{table}").read_text(), port)
    return found


def _network(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def _files(pid: int) -> Iterable[str]:
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(f"{folder}/{name}")

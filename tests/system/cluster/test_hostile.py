"""Whoever connects to the Raft port without being a peer changes nothing and is logged once."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import time
from pathlib import Path

from raftchaos import limits
from tests.system.harness import Cluster, PeerProcess, wait_until


class Bomb:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


def closed(sock: socket.socket, seconds: float) -> bool:
    """Whether the other side closes the connection within that time."""
    sock.settimeout(seconds)
    try:
        while sock.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def view(peer: PeerProcess) -> tuple[object, ...]:
    """What no stranger may change. A busy machine may hold an election meanwhile, so not who leads."""
    nodes = [(node["name"], node["incarnation"]) for node in peer.get("/api/v1/nodes")["nodes"]]
    return tuple(peer.status()["quorum"]["voters"]), tuple(nodes)


def test_nonsense_on_the_raft_port_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start(3)
    victim = cluster.leader()
    before = view(victim)
    marker = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(marker))
    payloads = {
        "a pickle": bomb,
        "a framed pickle": struct.pack(">I", len(bomb)) + bomb,
        "a framed pickle, other order": struct.pack("<I", len(bomb)) + bomb,
        "random bytes": os.urandom(4096),
        "two gibibytes announced": struct.pack(">I", 2**31) + b"x" * 64,
        "two gibibytes announced, other order": struct.pack("<I", 2**31) + b"x" * 64,
    }
    addresses = []
    for what, payload in payloads.items():
        with socket.create_connection(("127.0.0.1", victim.raft), timeout=5) as sock:
            addresses.append(f"127.0.0.1:{sock.getsockname()[1]}")
            sock.sendall(payload)
            assert closed(sock, limits.HANDSHAKE * 3), what
    with socket.create_connection(("127.0.0.1", victim.raft), timeout=5) as silent:
        addresses.append(f"127.0.0.1:{silent.getsockname()[1]}")
        assert closed(silent, limits.HANDSHAKE * 3), "a silent connection is closed"
    assert not marker.exists()
    assert view(victim) == before
    said = victim.output().splitlines()
    for address in addresses:
        assert len([line for line in said if "Raft port" in line and address in line]) == 1, address


def test_many_silent_connections_do_not_keep_peers_out(cluster: Cluster) -> None:
    cluster.start(2)
    victim = cluster.leader()
    crowd = [socket.create_connection(("127.0.0.1", victim.raft), timeout=5) for _ in range(limits.HANDSHAKES_OPEN * 2)]
    try:
        began = time.monotonic()
        cluster.add("node-3", victim)
        cluster.wait_ready(40)
        assert time.monotonic() - began < 40
    finally:
        for sock in crowd:
            sock.close()
    wait_until(lambda: len(victim.status()["quorum"]["reachable"]) == 3, 10, "all three are connected")

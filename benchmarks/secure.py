#!/usr/bin/env python3
"""What TLS between the peers costs: the same cluster of three with and without --insecure, in turns.

python benchmarks/secure.py [--rounds 3]     commits one after another (ms), and from a killed leader to a write (ms)

Both are asked over the Unix socket of a peer, so the API's own TLS is not in the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from raftchaos.identity.local import socket_of
from raftchaos.launch import LocalConnection
from tests.system.harness import ApiError, Cluster, PeerProcess

COMMITS = 400
KILLS = 5


def commits(peer: PeerProcess) -> list[float]:
    """Milliseconds of each of many writes through this peer, on one connection."""
    address = f"127.0.0.1:{peer.api}"
    path = socket_of(address)
    assert path is not None
    connection = LocalConnection(path, address, timeout=10)
    found = []
    for _ in range(COMMITS):
        began = time.perf_counter()
        connection.request("POST", "/api/v1/nodes/node-1/undrain", "{}", {"Content-Type": "application/json"})
        connection.getresponse().read()
        found.append((time.perf_counter() - began) * 1000)
    connection.close()
    return found


def failover(cluster: Cluster) -> float:
    """Milliseconds from the death of the leader to the first write that another peer takes."""
    leader = cluster.leader()
    other = next(peer for peer in cluster.running() if peer is not leader)
    leader.kill()
    began = time.perf_counter()
    while True:
        try:
            other.post("/api/v1/nodes/node-1/undrain")
            break
        except (ApiError, OSError):
            continue
    took = (time.perf_counter() - began) * 1000
    leader.start(extra=cluster.extra)
    cluster.wait_ready(60)
    return took


def measure(extra: tuple[str, ...]) -> dict[str, float]:
    """One cluster."""
    with tempfile.TemporaryDirectory() as root:
        cluster = Cluster(Path(root), extra)
        try:
            cluster.start(3)
            times = commits(cluster.leader())
            kills = [failover(cluster) for _ in range(KILLS)]
        finally:
            cluster.end()
    return {
        "commit_p50_ms": round(statistics.median(times), 2),
        "commit_p99_ms": round(statistics.quantiles(times, n=100)[98], 2),
        "failover_p50_ms": round(statistics.median(kills), 1),
        "failover_max_ms": round(max(kills), 1),
    }


def main() -> None:
    """Measure both in turns and print every round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    for _ in range(parser.parse_args().rounds):
        print(json.dumps({"insecure": measure(("--insecure",)), "secure": measure(())}), flush=True)


if __name__ == "__main__":
    main()

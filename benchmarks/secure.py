"""What TLS between the peers costs: two clusters of three on loopback, one with --insecure, asked in turns.

    python benchmarks/secure.py [--rounds 20]

A round is fifty commits one after another at the leader of each cluster, and one killed leader of each. Both are asked
over the Unix socket of a peer, so the API's own TLS is not in the figures. `server_us` is the CPU time of all members
for one commit. `benchmarks/cluster.py` measures the same beside everything else.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.load import cpu
from benchmarks.report import machine, show, table
from raftchaos.identity.local import socket_of
from raftchaos.launch import LocalConnection
from tests.system.harness import ApiError, Cluster, PeerProcess

COMMITS = 50
WRITE = "/api/v1/nodes/node-1/undrain"
WAYS: dict[str, tuple[str, ...]] = {"insecure": ("--insecure",), "secure": ()}


@contextlib.contextmanager
def clusters() -> Iterator[dict[str, Cluster]]:
    """One of each kind."""
    with contextlib.ExitStack() as stack:
        made = {}
        for way, extra in WAYS.items():
            made[way] = Cluster(Path(stack.enter_context(tempfile.TemporaryDirectory())), extra)
            stack.callback(made[way].end)
            made[way].start(3)
        yield made


def commits(peer: PeerProcess) -> list[float]:
    """Milliseconds of each of many writes through this peer, on one connection."""
    address = f"127.0.0.1:{peer.api}"
    path = socket_of(address)
    assert path is not None
    found = []
    with contextlib.closing(LocalConnection(path, address, timeout=10)) as connection:
        for _ in range(COMMITS):
            began = time.perf_counter()
            connection.request("POST", WRITE, "{}", {"Content-Type": "application/json"})
            connection.getresponse().read()
            found.append((time.perf_counter() - began) * 1000)
    return found


def failover(cluster: Cluster) -> float:
    """Milliseconds from SIGKILL of the leader to the first write that another peer takes."""
    leader = cluster.leader()
    other = next(peer for peer in cluster.running() if peer is not leader)
    began = time.perf_counter()
    leader.kill()
    while True:
        with contextlib.suppress(ApiError, OSError):
            other.post(WRITE)
            break
    took = (time.perf_counter() - began) * 1000
    leader.start(extra=cluster.extra)
    cluster.wait_ready(60)
    return took


def compare(rounds: int) -> dict[str, dict[str, float]]:
    """Both in turns."""
    writes: dict[str, list[float]] = {way: [] for way in WAYS}
    kills: dict[str, list[float]] = {way: [] for way in WAYS}
    spent = dict.fromkeys(WAYS, 0.0)
    with clusters() as made:
        for number in range(rounds):
            order = list(made.items())[:: 1 if number % 2 else -1]  # what one leaves to do must not burden the other
            for way, cluster in order:
                leader, processes = cluster.leader(), [psutil.Process(peer.pid) for peer in cluster.running()]
                before = cpu(processes)
                writes[way] += commits(leader)
                spent[way] += cpu(processes) - before
            for way, cluster in order:
                kills[way].append(failover(cluster))
    found = {way: _figures(writes[way], kills[way], spent[way]) for way in WAYS}
    times = {key: round(found["secure"][key] / found["insecure"][key], 2) for key in found["secure"]}
    return {**found, "secure / insecure": times}


def _figures(writes: list[float], kills: list[float], spent: float) -> dict[str, float]:
    return {
        "commit_p50_ms": round(statistics.median(writes), 2),
        "commit_p99_ms": round(statistics.quantiles(writes, n=100)[98], 2),
        "server_us": round(spent / len(writes) * 1e6),
        "failover_p50_ms": round(statistics.median(kills), 1),
        "failover_max_ms": round(max(kills), 1),
    }


def rows(found: dict[str, dict[str, float]]) -> str:
    """As a table."""
    columns = tuple(found["secure"])
    return table(("", *columns), [(way, *(each[column] for column in columns)) for way, each in found.items()])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    result |= {"tls": compare(options.rounds), "after": machine()}
    show(result, rows(result["tls"]))


if __name__ == "__main__":
    main()

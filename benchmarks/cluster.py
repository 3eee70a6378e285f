"""Figures of a cluster of three real peers on loopback: commits through the API, idle CPU, memory, start of the CLI.

    python benchmarks/cluster.py        prints JSON

A write is `POST /api/v1/nodes/NAME/undrain` of a node that is not drained: one command through the Raft log, applied on
the peer that was asked before it is answered. So the times hold HTTP, msgpack, the log and `apply`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.system.harness import Cluster, PeerProcess

SECONDS = 5.0
IDLE_SECONDS = 20.0


def quantiles(values: list[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    ordered = sorted(values)
    return {
        "p50_ms": round(statistics.median(ordered) * 1e3, 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 3),
    }


@dataclass(frozen=True)
class Target:
    """Where a committed write is asked for, and with what."""

    url: str
    body: dict[str, Any]


async def commits(target: Target, flight: int) -> dict[str, float]:
    """Writes with `flight` of them under way at any time, for SECONDS."""
    times: list[float] = []
    failed = 0
    end = time.perf_counter() + SECONDS
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one_after_the_other() -> None:
            nonlocal failed
            while time.perf_counter() < end:
                began = time.perf_counter()
                async with session.post(target.url, json=target.body) as answer:
                    await answer.read()
                    failed += answer.status != 200
                times.append(time.perf_counter() - began)

        async with asyncio.TaskGroup() as group:
            for _ in range(flight):
                group.create_task(one_after_the_other())
    return {"per_second": round(len(times) / SECONDS, 1), **quantiles(times), "failed": failed}


def usage(peer: PeerProcess) -> dict[str, dict[str, float]]:
    """CPU seconds and resident MiB of each process of a peer."""
    found = {}
    for process in [psutil.Process(peer.pid), *peer.children()]:
        words = " ".join(process.cmdline())
        kind = "proxy" if "raftchaos.proxy" in words else "reaper" if "reaper" in words else "main"
        times = process.cpu_times()
        found[kind] = {"cpu": times.user + times.system, "rss_mib": round(process.memory_info().rss / 2**20, 1)}
    return found


def idle(cluster: Cluster) -> dict[str, dict[str, dict[str, float]]]:
    """Percent of one core and resident MiB of every process while nothing happens."""
    before = {peer.name: usage(peer) for peer in cluster.running()}
    began = time.perf_counter()
    time.sleep(IDLE_SECONDS)
    passed = time.perf_counter() - began
    result = {}
    for peer in cluster.running():
        after = usage(peer)
        result[peer.name + (" (leader)" if peer is cluster.leader() else "")] = {
            kind: {
                "cpu_percent": round((after[kind]["cpu"] - before[peer.name][kind]["cpu"]) / passed * 100, 2),
                "rss_mib": after[kind]["rss_mib"],
            }
            for kind in after
        }
    return result


def help_seconds() -> dict[str, float]:
    """Wall seconds of `raftchaos --help` as a process of its own, and of an empty Python."""
    result = {}
    for name, words in (("help", ["-m", "raftchaos.cli.main", "--help"]), ("python", ["-c", "pass"])):
        times = []
        for _ in range(7):
            began = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        result[name] = round(statistics.median(times), 3)
    return result


def main() -> None:
    """Measure everything and print it as JSON."""
    with tempfile.TemporaryDirectory() as root:
        cluster = Cluster(Path(root))
        try:
            cluster.start(3)
            leader = cluster.leader()
            follower = next(peer for peer in cluster.running() if peer is not leader)
            result = {"idle": idle(cluster)}
            for name, peer in (("leader", leader), ("follower", follower)):
                target = Target(f"http://127.0.0.1:{peer.api}/api/v1/nodes/node-1/undrain", {})
                for flight in (1, 64):
                    result[f"{name}, {flight} in flight"] = asyncio.run(commits(target, flight))
            result["cli"] = help_seconds()
        finally:
            cluster.end()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

"""What each further observer costs a cluster of three voters, all as real processes on this machine.

    python benchmarks/scale.py [--observers 0 10 20 40 60] [--seconds 4]

At every size: CPU and memory of each kind of process while nothing happens, what goes over the Raft connections (from
the kernel's own counters), commits through the leader at 1 and 64 in flight and through an observer at 1, and how long
one more peer takes to join. At the end the leader is killed, and the time until the newest observers have each written
something is taken.

On one machine all peers share its cores, which observers on machines of their own would not. So the main processes of
all observers but the newest are niced: what the leader does and spends is measured as if they were elsewhere, except
that they lag. More are not started than memory is free for.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.load import Target, load
from benchmarks.report import machine, quantiles, show, table
from tests.system.harness import Cluster, PeerProcess, wait_until

VOTERS = 3
TOGETHER = 4  # peers that start at the same time
NICE = 19
OPTIONS = ("--insecure", "--log-level", "warning")  # what TLS costs, `secure.py` says
PEER_BYTES = 120 * 2**20  # of memory that must be free for one more peer
IDLE_SECONDS = 20.0
SETTLE_SECONDS = 5.0
MARK = "RAFTCHAOS_TEST_PEER"
_SOCKET = re.compile(r"(\w+):(\d+)(?:\s|$)")


def kinds(cluster: Cluster) -> dict[str, dict[str, psutil.Process]]:
    """The processes of every peer by their kind."""
    names = {str(peer.data): peer.name for peer in cluster.running()}
    found: dict[str, dict[str, psutil.Process]] = collections.defaultdict(dict)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            name, words = names.get(process.environ().get(MARK, "")), " ".join(process.cmdline())
            if name is not None:
                kind = "proxy" if "raftchaos.proxy" in words else "reaper" if "reaper" in words else "main"
                found[name][kind] = process
    return found


def sockets(cluster: Cluster) -> dict[str, collections.Counter[str]]:
    """What each peer's Raft connections have carried so far: bytes and segments with data, sent and received."""
    ports, pids = {peer.raft for peer in cluster.running()}, {peer.pid: peer.name for peer in cluster.running()}
    text = subprocess.run(["ss", "-tinpH", "state", "established"], capture_output=True, text=True, check=True).stdout
    found: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for head, counters in _pairs(text.splitlines()):
        owner = re.search(r"pid=(\d+)", head)
        ends = {int(end.rpartition(":")[2]) for end in head.split()[2:4]}
        if owner is not None and int(owner[1]) in pids and ends & ports:
            of = found[pids[int(owner[1])]]
            of["connections"] += 1
            of.update({key: int(value) for key, value in _SOCKET.findall(counters)})
    return found


def _pairs(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`ss` writes two lines for each connection."""
    return zip(lines[::2], lines[1::2], strict=False)


def idle(cluster: Cluster, leader: PeerProcess) -> dict[str, Any]:
    """What a peer spends while nothing happens: the leader, and the mean of the other voters and of the observers."""
    processes = kinds(cluster)
    cpu = {name: {kind: sum(each.cpu_times()[:2]) for kind, each in own.items()} for name, own in processes.items()}
    wire, began = sockets(cluster), time.perf_counter()
    time.sleep(IDLE_SECONDS)
    passed, later = time.perf_counter() - began, sockets(cluster)
    rows: dict[str, list[dict[str, float]]] = collections.defaultdict(list)
    for name, own in processes.items():
        part = "leader" if name == leader.name else "voter" if cluster[name] in voters(cluster) else "observer"
        row = {f"{kind}_cpu": (sum(p.cpu_times()[:2]) - cpu[name][kind]) / passed * 100 for kind, p in own.items()}
        row |= {f"{kind}_mib": p.memory_full_info().pss / 2**20 for kind, p in own.items()}
        for key, label in (("data_segs_out", "sends"), ("bytes_sent", "bytes_out"), ("bytes_received", "bytes_in")):
            row[f"{label}_per_s"] = (later[name][key] - wire[name][key]) / passed
        rows[part].append({**row, "connections": float(later[name]["connections"])})
    return {
        part: {key: round(statistics.mean(row.get(key, 0.0) for row in found), 2) for key in found[0]}
        for part, found in rows.items()
    }


def voters(cluster: Cluster) -> list[PeerProcess]:
    """The first peers."""
    return list(cluster.peers.values())[:VOTERS]


def observers(cluster: Cluster) -> list[PeerProcess]:
    """All the others."""
    return list(cluster.peers.values())[VOTERS:]


def grow(cluster: Cluster, wanted: int) -> dict[str, float]:
    """Start observers, a few at a time; seconds until the last few were ready, from their start as processes."""
    while (missing := wanted - len(observers(cluster))) > 0:
        for peer in observers(cluster):
            stand_back(peer)
        if psutil.virtual_memory().available < TOGETHER * PEER_BYTES:
            raise SystemExit(f"there is no memory for more than {len(observers(cluster))} observers")
        began, some = time.perf_counter(), []
        for _ in range(min(TOGETHER, missing)):
            peer = PeerProcess(f"node-{len(cluster.peers) + 1}", cluster.root)
            cluster.peers[peer.name] = peer
            some.append(peer.start(voters(cluster)[0].api, ("--observer", *OPTIONS)))
        for peer in some:
            wait_until(peer.ready, 120, f"{peer.name} is ready\n{peer.output()[-2000:]}")
        last = time.perf_counter() - began
        expected = len(observers(cluster))
        wait_until(lambda expected=expected: len(voters(cluster)[0].status()["observers"]) >= expected, 60, "members")
    return {"join_seconds": round(last, 2)} if wanted else {}


def stand_back(peer: PeerProcess) -> None:
    """Let the others have the cores first. Linux weighs whole sessions, each peer is one; not every kernel does."""
    psutil.Process(peer.pid).nice(NICE)
    with contextlib.suppress(OSError):
        Path(f"/proc/{peer.pid}/autogroup").write_text(str(NICE))


def write(peer: PeerProcess) -> Target:
    """A committed write through this peer."""
    return Target(f"http://127.0.0.1:{peer.api}/api/v1/nodes/node-1/undrain", b"{}")


def loads(cluster: Cluster, leader: PeerProcess, seconds: int) -> dict[str, Any]:
    """Commits, and what a core of the leader is worth."""
    main = [psutil.Process(leader.pid)]
    found = {f"leader, {flight}": load(write(leader), flight, seconds, main) for flight in (1, 64)}
    if observers(cluster):
        found["observer, 1"] = load(write(observers(cluster)[-1]), 1, seconds, main)
    for figures in found.values():
        per_commit = figures["server_cores"] / max(figures["per_second"], 1) * 1e6
        figures["leader_us_per_commit"] = round(per_commit)
    return found


async def _first_writes(peers: list[PeerProcess], began: float) -> list[float]:
    """Seconds from `began` until a write through each peer was answered; asked again and again."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(3)) as session:

        async def first(peer: PeerProcess) -> float:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.post(write(peer).url, json={}) as answer:
                        if answer.status == 200:
                            return time.perf_counter() - began

        async with asyncio.timeout(60):
            return await asyncio.gather(*(first(peer) for peer in peers))


def failover(cluster: Cluster, leader: PeerProcess) -> dict[str, float]:
    """Milliseconds from SIGKILL of the leader until a write through an observer was committed, for the newest ones."""
    began = time.perf_counter()
    leader.kill()
    return quantiles(asyncio.run(_first_writes(observers(cluster)[-TOGETHER:], began)))


def measure(cluster: Cluster, size: int, seconds: int) -> dict[str, Any]:
    """Everything at one size."""
    result: dict[str, Any] = {"observers": size, **grow(cluster, size)}
    leader = cluster.leader()
    time.sleep(SETTLE_SECONDS)
    result["idle"] = idle(cluster, leader)
    began = time.perf_counter()
    result["metrics_bytes"] = len(leader.get("/metrics"))
    result["metrics_ms"] = round((time.perf_counter() - began) * 1e3, 1)
    result["loads"] = loads(cluster, leader, seconds)
    return {**result, **machine()}


def main() -> None:
    """Measure every size in one growing cluster and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observers", type=int, nargs="+", default=[0, 10, 20, 40, 60])
    parser.add_argument("--seconds", type=int, default=4, help="how long each load lasts")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as root:
        cluster = Cluster(Path(root), OPTIONS)
        try:
            cluster.start(VOTERS)
            for size in sorted(options.observers):
                found.append(measure(cluster, size, options.seconds))
                print(f"{size} observers: {found[-1]}", file=sys.stderr, flush=True)
            killed = failover(cluster, cluster.leader()) if observers(cluster) else {}
        finally:
            cluster.end()
    columns = ("main_cpu", "sends_per_s", "bytes_out_per_s", "bytes_in_per_s", "connections", "main_mib")
    rows = [
        (each["observers"], part, *(each["idle"][part][column] for column in columns))
        for each in found
        for part in each["idle"]
    ]
    figures = ("per_second", "p50_ms", "p99_ms", "server_cores", "leader_us_per_commit")
    commits = [
        (each["observers"], who, *(load[figure] for figure in figures))
        for each in found
        for who, load in each["loads"].items()
    ]
    text = table(("observers", "idle", *columns), rows) + "\n\n" + table(("observers", "commits by", *figures), commits)
    show({"sizes": found, "failover": killed}, text)


if __name__ == "__main__":
    main()

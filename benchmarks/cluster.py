"""Figures of a cluster of three real peers on loopback, with a three-member etcd beside it where that is installed.

    python benchmarks/cluster.py [--rounds 3] [--seconds 4] [--kills 20]

Commits, in turns, at 1 and 64 in flight: `POST /api/v1/nodes/NAME/undrain` at the leader, one command through the Raft
log that is applied before it is answered; the log alone, without HTTP; and a put to etcd's leader by gRPC, which is its
own protocol, and by its JSON gateway. etcd always syncs: *disk* has its data on the disk that ours is on, *process* on
tmpfs, where a sync costs nothing. `server_us` is the CPU time of all members for one write: unlike everything else it
hardly depends on what else the machine does. All this is measured with --insecure, since etcd speaks plainly, too.
Then what TLS between the peers costs a commit and the replacement of a killed leader (`secure.py`), CPU and memory at
rest, and the start of the command line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.consensus import ask, replicas
from benchmarks.etcd import Etcd, etcd, found
from benchmarks.load import Target, cpu, load
from benchmarks.report import cell, machine, show, spread, table
from benchmarks.secure import compare
from benchmarks.secure import rows as tls_rows
from raftchaos.consensus.config import DISK, PROCESS, Durability
from tests.system.harness import Cluster, PeerProcess

TMPFS = Path("/dev/shm")
IDLE_SECONDS = 20.0
FLIGHTS = (1, 64)
Rounds = dict[str, list[dict[str, float]]]


def processes(cluster: Cluster) -> list[psutil.Process]:
    """The main processes of all peers."""
    return [psutil.Process(peer.pid) for peer in cluster.running()]


def through_the_api(peer: PeerProcess) -> Target:
    """A committed write."""
    return Target(f"http://127.0.0.1:{peer.api}/api/v1/nodes/node-1/undrain", b"{}")


def lone(durability: Durability, options: argparse.Namespace) -> Rounds:
    """The log alone."""

    async def measure() -> Rounds:
        async with replicas(durability) as children:
            result: Rounds = {}
            for flight in FLIGHTS:
                for _ in range(options.rounds):
                    before = cpu(every := [psutil.Process(child.pid) for child in children.values()])
                    figures = await ask(children["a"], do="write", flight=flight, seconds=options.seconds)
                    took = (cpu(every) - before) / options.seconds
                    figures["server_us"] = round(took / figures["per_second"] * 1e6)
                    result.setdefault(f"raftchaos, the log alone, {flight}", []).append(figures)
            return result

    return asyncio.run(measure())


def checked(etcd_: Etcd, target: Target, flight: int, seconds: int) -> dict[str, float]:
    """A load on etcd. Raises SystemExit if it has not written what it answered: gRPC tells errors as HTTP 200."""
    before = etcd_.written()
    figures = load(target, flight, seconds, etcd_.processes)
    if etcd_.written() - before < figures["per_second"] * seconds:
        raise SystemExit(f"etcd answered {figures['per_second'] * seconds} puts and did not write them all")
    return figures


def commits(durability: Durability, options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Everybody in turns."""
    folder = None if durability == DISK else TMPFS
    result: Rounds = {}
    with contextlib.ExitStack() as stack:
        roots = [Path(stack.enter_context(tempfile.TemporaryDirectory(dir=each))) for each in (None, folder)]
        cluster = Cluster(roots[0], ("--durability", durability, "--insecure"))
        stack.callback(cluster.end)
        cluster.start(3)
        ours, beside = through_the_api(cluster.leader()), stack.enter_context(etcd(roots[1])) if found() else None
        for flight in FLIGHTS:
            for _ in range(options.rounds):
                figures = load(ours, flight, options.seconds, processes(cluster))
                result.setdefault(f"raftchaos, HTTP API, {flight}", []).append(figures)
                for name in ("grpc", "gateway") if beside is not None else ():
                    figures = checked(beside, getattr(beside, name), flight, options.seconds)
                    result.setdefault(f"etcd, {name}, {flight}", []).append(figures)
    result |= lone(durability, options)
    return {name: spread(rounds) for name, rounds in result.items()}


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
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="how long each load lasts")
    parser.add_argument("--kills", type=int, default=20, help="leaders killed with and without TLS")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    for durability in (DISK, PROCESS):
        result[durability] = commits(durability, options)
    result["tls"] = compare(options.kills)
    with tempfile.TemporaryDirectory() as root:
        cluster = Cluster(Path(root), ("--insecure",))
        try:
            result["idle"] = idle(cluster.start(3))
        finally:
            cluster.end()
    result |= {"cli": help_seconds(), "after": machine()}
    columns = ("per_second", "p50_ms", "p99_ms", "server_us", "client_cores")
    rows = [
        (durability, name, *(cell(each[column]) if column in each else "" for column in columns))
        for durability in (DISK, PROCESS)
        for name, each in result[durability].items()
    ]
    show(result, table(("durability", "who, in flight", *columns), rows) + "\n\n" + tls_rows(result["tls"]))


if __name__ == "__main__":
    main()

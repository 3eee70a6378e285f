#!/usr/bin/env python3
"""Three replicas as processes on loopback: commits a second at 1 and 64 in flight, reads, failover, idle CPU, as JSON.

python benchmarks/consensus.py [--seconds 5] [--uvloop] [--durability process|disk] [--directory DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from raftchaos.consensus.config import Durability
from raftchaos.consensus.replica import Replica, ReplicaConfig
from raftchaos.core.interfaces import Entry

NAMES = ("a", "b", "c")


class Counter:
    """A state machine that costs nothing."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, entry: Entry) -> object:
        """Count."""
        self.count += 1
        return {"count": self.count}

    def snapshot(self) -> bytes:
        """The count."""
        return str(self.count).encode()

    def restore(self, data: bytes) -> None:
        """The count."""
        self.count = int(data)


def usage() -> float:
    """CPU seconds of this process so far."""
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def quantiles(seconds: list[float], wall: float) -> dict[str, float]:
    """What is reported about a list of latencies."""
    cuts = statistics.quantiles(seconds, n=100)
    return {
        "count": len(seconds),
        "per_second": round(len(seconds) / wall, 1),
        "p50_ms": round(cuts[49] * 1e3, 3),
        "p99_ms": round(cuts[98] * 1e3, 3),
        "max_ms": round(max(seconds) * 1e3, 2),
    }


async def load(operation: Any, flight: int, seconds: float) -> dict[str, float]:
    """`flight` callers, each asking again as soon as it is answered."""
    times: list[float] = []
    began = time.perf_counter()

    async def one(number: int) -> None:
        count = 0
        while (at := time.perf_counter()) < began + seconds:
            count += 1
            await operation(f"{number}:{count}:{at}")
            times.append(time.perf_counter() - at)

    await asyncio.gather(*(one(number) for number in range(flight)))
    return quantiles(times, time.perf_counter() - began)


async def serve(name: str, directory: Path, addresses: dict[str, str], durability: Durability) -> None:
    """A child: one replica, driven by lines of JSON."""
    config = ReplicaConfig(
        name=name,
        cluster_id="benchmark",
        directory_id=name,
        incarnation=1,
        data_dir=directory,
        listen=addresses[name],
        advertise=addresses[name],
        durability=durability,
    )
    machine = Counter()
    replica = Replica.create(config, machine) if name == NAMES[0] else Replica.join(config, machine, members=addresses)
    await replica.start()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"ready": name}), flush=True)
    while line := await reader.readline():
        request = json.loads(line)
        print(json.dumps(await answer(replica, request)), flush=True)
    await replica.close()


async def answer(replica: Replica, request: dict[str, Any]) -> dict[str, Any]:
    """One line of the parent's."""
    flight, seconds = request.get("flight", 1), request.get("seconds", 1.0)
    if request["do"] == "add":
        await replica.add_voter(request["name"], request["address"], timeout=10)
    elif request["do"] == "write":
        payload = b"x" * 200
        return await load(lambda key: replica.propose(f"{replica.name}:{key}", payload, timeout=10), flight, seconds)
    elif request["do"] == "read":
        return await load(lambda key: replica.read_barrier(timeout=10), flight, seconds)
    elif request["do"] == "idle":
        before = usage()
        await asyncio.sleep(seconds)
        return {"cpu_percent": round((usage() - before) / seconds * 100, 2)}
    elif request["do"] == "leaderless":
        began = time.perf_counter()
        await replica.propose(f"failover:{began}", b"x", timeout=30)
        return {"ms": round((time.perf_counter() - began) * 1e3, 1)}
    status = replica.status()
    return {"leader": status.leader, "leader_ready": status.leader_ready, "rss_mib": round(memory() / 2**20, 1)}


async def ask(child: asyncio.subprocess.Process, **request: Any) -> dict[str, Any]:
    """Send a child one request and wait for its answer."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(request).encode() + b"\n")
    line = await child.stdout.readline()
    if not line:
        raise SystemExit("a replica ended early")
    return dict(json.loads(line))


def free_addresses() -> dict[str, str]:
    """A free port on loopback for each replica."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in NAMES]
    addresses = {name: f"127.0.0.1:{sock.getsockname()[1]}" for name, sock in zip(NAMES, sockets, strict=True)}
    for sock in sockets:
        sock.close()
    return addresses


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Start three children, measure, end them."""
    addresses = free_addresses()
    children: dict[str, asyncio.subprocess.Process] = {}
    with tempfile.TemporaryDirectory(dir=options.directory) as root:
        try:
            for name in NAMES:
                arguments = [__file__, "--serve", name, root, json.dumps(addresses), "--durability", options.durability]
                arguments += ["--uvloop"] if options.uvloop else []
                child = children[name] = await asyncio.create_subprocess_exec(
                    sys.executable, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
                )
                assert child.stdout is not None
                await child.stdout.readline()
            return {"durability": options.durability, **await exercise(children, addresses, options.seconds)}
        finally:
            for child in children.values():
                if child.returncode is None:
                    child.kill()
                await child.wait()


async def exercise(
    children: dict[str, asyncio.subprocess.Process], addresses: dict[str, str], seconds: float
) -> dict[str, Any]:
    """Everything that is measured, one after the other."""
    leader, follower, third = (children[name] for name in NAMES)
    await ask(leader, do="write", seconds=0.1)  # it leads once it can write
    for name in NAMES[1:]:
        await ask(leader, do="add", name=name, address=addresses[name])
    results: dict[str, Any] = {}
    for who, child in (("leader", leader), ("follower", follower)):
        for flight in (1, 64):
            results[f"write_{who}_{flight}"] = await ask(child, do="write", flight=flight, seconds=seconds)
        results[f"read_{who}_1"] = await ask(child, do="read", flight=1, seconds=seconds)
    idle = await asyncio.gather(*(ask(child, do="idle", seconds=seconds) for child in children.values()))
    roles = ("leader", "follower", "follower_2")
    results["idle_cpu_percent"] = {role: each["cpu_percent"] for role, each in zip(roles, idle, strict=True)}
    results["rss_mib"] = (await ask(follower, do="status"))["rss_mib"]
    leader.kill()
    results["write_after_sigkill_of_the_leader_ms"] = (await ask(third, do="leaderless"))["ms"]
    return results


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each load lasts")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--durability", choices=("process", "disk"), default="process")
    parser.add_argument("--directory", help="where the data is; disk and tmpfs differ with --durability disk")
    parser.add_argument("--serve", nargs=3, metavar=("NAME", "ROOT", "ADDRESSES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.uvloop:
        from uvloop import run
    else:
        from asyncio import run
    if options.serve:
        name, root, addresses = options.serve
        run(serve(name, Path(root) / name, json.loads(addresses), options.durability))
    else:
        print(json.dumps(asyncio.run(measure(options)), indent=2))


if __name__ == "__main__":
    main()

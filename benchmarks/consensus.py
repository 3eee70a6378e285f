"""The Raft log alone: three replicas as processes on loopback, on uvloop like a peer, and no HTTP.

    python benchmarks/consensus.py [--seconds 5] [--rounds 3] [--durability process|disk]... [--diverged 10000]

Proposals and linearizable reads a second at 1 and 64 in flight, CPU at rest, and the time in which a peer is level
whose log holds thousands of entries that nobody else has, and lacks as many. Whoever proposes is in the process that is
asked, as the agent and the planner of a peer are; what that costs is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import cell, machine, quantiles, show, spread, table
from raftchaos.consensus import bootstrap
from raftchaos.consensus.config import DISK, PROCESS, Durability
from raftchaos.consensus.entries import Configuration, encode_command, encode_configuration
from raftchaos.consensus.replica import Replica, ReplicaConfig
from raftchaos.consensus.snapshot import SnapshotStore
from raftchaos.core.interfaces import Entry
from raftchaos.launch import free_port

NAMES = ("a", "b", "c")
CLUSTER = "benchmark"
PAYLOAD = b"x" * 200
LOOK = 0.001
Children = dict[str, asyncio.subprocess.Process]


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


async def load(operation: Any, flight: int, seconds: float) -> dict[str, float]:
    """`flight` callers, each asking again as soon as it is answered."""
    times: list[float] = []
    began, cpu = time.perf_counter(), usage()

    async def one(number: int) -> None:
        count = 0
        while (at := time.perf_counter()) < began + seconds:
            count += 1
            await operation(f"{number}:{count}:{at}")
            times.append(time.perf_counter() - at)

    await asyncio.gather(*(one(number) for number in range(flight)))
    passed, cpu = time.perf_counter() - began, usage() - cpu
    return {
        "per_second": round(len(times) / passed),
        **quantiles(times),
        "cpu_us": round(cpu / len(times) * 1e6, 1),  # of this process, for each operation
    }


async def serve(name: str, directory: Path, addresses: dict[str, str], durability: Durability) -> None:
    """A child: one replica, driven by lines of JSON."""
    config = ReplicaConfig(
        name=name,
        cluster_id=CLUSTER,
        directory_id=name,
        incarnation=1,
        data_dir=directory,
        listen=addresses[name],
        advertise=addresses[name],
        durability=durability,
    )
    machine = Counter()
    if Replica.exists(directory):
        replica = Replica.open(config, machine)
    elif name == NAMES[0]:
        replica = Replica.create(config, machine)
    else:
        replica = Replica.join(config, machine, members=addresses)
    await replica.start()
    started = time.perf_counter()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"ready": name}), flush=True)
    while line := await reader.readline():
        request = json.loads(line)
        print(json.dumps(await answer(replica, request, started)), flush=True)
    await replica.close()


async def answer(replica: Replica, request: dict[str, Any], started: float) -> dict[str, Any]:
    """One line of the parent's."""
    flight, seconds = request.get("flight", 1), request.get("seconds", 1.0)
    if request["do"] == "add":
        await replica.add_voter(request["name"], request["address"], timeout=10)
    elif request["do"] == "write":
        return await load(lambda key: replica.propose(f"{replica.name}:{key}", PAYLOAD, timeout=10), flight, seconds)
    elif request["do"] == "read":
        return await load(lambda key: replica.read_barrier(timeout=10), flight, seconds)
    elif request["do"] == "idle":
        before = usage()
        await asyncio.sleep(seconds)
        return {"cpu_percent": round((usage() - before) / seconds * 100, 2)}
    elif request["do"] == "apply":
        while replica.raft.leader is None:  # noqa: ASYNC110 - the interval is the figure's error, here and below
            await asyncio.sleep(LOOK)
        found = time.perf_counter()
        while replica.raft.applied_index < request["index"]:  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
        level = time.perf_counter()
        return {
            "leader_found_s": round(found - started, 3),
            "level_s": round(level - found, 3),
            "truncated": replica.raft.counts["truncated"],
        }
    return {"rss_mib": round(memory() / 2**20, 1)}


async def ask(child: asyncio.subprocess.Process, *, do: str = "", **request: Any) -> dict[str, Any]:
    """Send a child one request and wait for its answer."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
    line = await child.stdout.readline()
    if not line:
        raise SystemExit("a replica ended early")
    return dict(json.loads(line))


async def start(name: str, root: str, addresses: dict[str, str], durability: Durability) -> asyncio.subprocess.Process:
    """A child that serves."""
    words = [__file__, "--serve", name, root, json.dumps(addresses), "--durability", durability]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, *words, stdin=pipe, stdout=pipe)
    assert child.stdout is not None
    await child.stdout.readline()
    return child


async def end(children: Children) -> None:
    """Kill them."""
    for child in children.values():
        if child.returncode is None:
            child.kill()
        await child.wait()


@contextlib.asynccontextmanager
async def replicas(durability: Durability) -> AsyncIterator[Children]:
    """Three replicas of one cluster, the first of which leads. They end with the context."""
    addresses = {name: f"127.0.0.1:{free_port()}" for name in NAMES}
    children: Children = {}
    with tempfile.TemporaryDirectory() as root:
        try:
            for name in NAMES:
                children[name] = await start(name, root, addresses, durability)
            await ask(children["a"], do="write", seconds=0.1)  # it leads once it can write
            for name in NAMES[1:]:
                await ask(children["a"], do="add", name=name, address=addresses[name])
            yield children
        finally:
            await end(children)


async def exercise(durability: Durability, seconds: float, rounds: int) -> dict[str, Any]:
    """Loads in turns, and rest."""
    async with replicas(durability) as children:
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(rounds):
            for who, name in (("leader", "a"), ("follower", "b")):
                for what, flight in (("write", 1), ("write", 64), ("read", 1), ("read", 64)):
                    figures = await ask(children[name], do=what, flight=flight, seconds=seconds)
                    found.setdefault(f"{what}, {who}, {flight} in flight", []).append(figures)
        idle = await asyncio.gather(*(ask(child, do="idle", seconds=seconds) for child in children.values()))
        return {
            "load": {name: spread(each) for name, each in found.items()},
            "idle_cpu_percent": {name: each["cpu_percent"] for name, each in zip(children, idle, strict=True)},
            "rss_mib": (await ask(children["b"]))["rss_mib"],
        }


def write_log(directory: Path, name: str, addresses: dict[str, str], term: int, count: int) -> None:
    """A data directory whose log holds so many entries of that term after the configuration."""
    bootstrap.expect(directory, cluster_id=CLUSTER, name=name, members=addresses)
    store = SnapshotStore(bootstrap.raft_directory(directory) / "snapshot")
    log, _ = bootstrap.load(directory, store, cluster_id=CLUSTER, name=name)
    log.setCurrentTerm(term, None)
    log.add(encode_configuration(Configuration(addresses)), 2, 0)
    for number in range(count):
        log.add(encode_command(f"{name}:{number}", 0, PAYLOAD), 3 + number, term)
    log.close()


async def diverged(count: int) -> dict[str, Any]:
    """Seconds until a peer is level that has so many entries too many, and lacks as many."""
    addresses = {name: f"127.0.0.1:{free_port()}" for name in NAMES}
    children: Children = {}
    with tempfile.TemporaryDirectory() as root:
        for name in NAMES:
            write_log(Path(root) / name, name, addresses, 1 if name == "a" else 2, count)
        try:
            for name in ("b", "c", "a"):  # the first two have committed what they hold before the last one is there
                children[name] = await start(name, root, addresses, PROCESS)
                if name != "b":
                    found = await ask(children[name], do="apply", index=2 + count)
            return found
        finally:
            await end(children)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each load lasts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--durability", action="append", choices=(PROCESS, DISK), help="may be given twice")
    parser.add_argument("--diverged", type=int, default=10_000, help="entries")
    parser.add_argument("--serve", nargs=3, metavar=("NAME", "ROOT", "ADDRESSES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    wanted = options.durability or [PROCESS, DISK]
    if options.serve:
        name, root, addresses = options.serve
        uvloop.run(serve(name, Path(root) / name, json.loads(addresses), wanted[0]))
        return
    result: dict[str, Any] = {"machine": machine()}
    for durability in wanted:
        result[durability] = uvloop.run(exercise(durability, options.seconds, options.rounds))
    result["diverged"] = [uvloop.run(diverged(options.diverged)) for _ in range(options.rounds)]
    rows = [
        (durability, name, *(cell(figures[column]) for column in ("per_second", "p50_ms", "p99_ms", "cpu_us")))
        for durability in wanted
        for name, figures in result[durability]["load"].items()
    ]
    show(result, table(("durability", "load", "a second", "p50 ms", "p99 ms", "CPU µs of the asked"), rows))


if __name__ == "__main__":
    main()

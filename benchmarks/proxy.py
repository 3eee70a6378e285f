#!/usr/bin/env python3
"""The proxy beside a direct connection, and beside HAProxy and toxiproxy where they can be had, in turns.

    python benchmarks/proxy.py [--rounds 5] [--seconds 1] [--toxiproxy-url http://127.0.0.1:8474]

Service, proxy and load are three processes on loopback. `HTTP` are GET requests, which our proxy follows so that an
HTTP fault finds its place; `bytes` are messages of the same sizes that are not HTTP, which it only relays: the
difference is what following costs. `times` divides ours by another way's of the same round. Injected latency is that
of 256 connections that ask 2000 times a second together, few enough that none waits for a processor; the error is what
comes on top of it and of an untouched round trip. At last three real peers are watched while 1000 connections ask
through the proxy of their leader. Takes four minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.proxied_cluster import beside_raft
from benchmarks.proxies import BANDWIDTH, LATENCY, Way, service, ways
from benchmarks.report import cell, machine, show, spread, table
from benchmarks.traffic import (
    ECHO,
    PLAIN_REQUEST,
    PLAIN_RESPONSE,
    REQUEST,
    RESPONSE,
    bulk,
    close,
    load,
    opened,
    serve,
)

CONNECTIONS = (1, 16, 256, 1000)
DELAYED = 256  # connections, of the measurement of injected latency
PACE = 2000  # requests a second of all of them
LATENCIES = (5, 50, 500)  # ms
BANDWIDTHS = (100, 1000, 10_000)  # kB/s
RAFT_SECONDS = 15.0
Figures = dict[str, float]
Found = dict[str, dict[str, list[Figures]]]
"""By measurement and way: what each round gave."""


def figures(times: list[float], seconds: float) -> Figures:
    """Round trips a second, and p50 and p99 in microseconds."""
    ordered = sorted(times)
    return {
        "per_second": round(len(times) / seconds),
        "p50_us": round(statistics.median(ordered) * 1e6, 1),
        "p99_us": round(ordered[int(len(ordered) * 0.99)] * 1e6, 1),
    }


async def bulk_of(way: Way, seconds: float) -> Figures:
    """Gbit/s, and CPU seconds of the way's process for each GB."""
    before = way.cpu()
    rate, received = await bulk(way.port, seconds)
    found = {"gbit_per_second": round(rate * 8 / 1e9, 2)}
    if way.process is not None:
        found["cpu_seconds_per_gb"] = round((way.cpu() - before) / (received / 1e9), 3)
    return found


async def memory_of(way: Way) -> Figures:
    """MiB that the way's process has grown by 1000 connections, each of which has asked once."""
    before = way.memory()
    loops = await opened(way.port, 1000, REQUEST, len(RESPONSE), [], pause=3600)
    await asyncio.sleep(0.3)
    grown = way.memory() - before
    await close(loops)
    return {"mib": round(grown / 2**20, 1)}


async def latency_of(way: Way, milliseconds: float, seconds: float) -> Figures:
    """By how many milliseconds an injected latency is exceeded."""
    assert way.breaker is not None
    plain = await load(way.port, 1, 0.3, REQUEST, len(RESPONSE))
    cycle = max(DELAYED / PACE, milliseconds / 1000)
    await way.breaker.inject(LATENCY, milliseconds)
    times = sorted(
        await load(
            way.port,
            DELAYED,
            max(seconds, 3 * milliseconds / 1000),
            REQUEST,
            len(RESPONSE),
            spread=cycle,
            pause=cycle - milliseconds / 1000,
        )
    )
    await way.breaker.recover(LATENCY)
    base = milliseconds / 1000 + statistics.median(plain)
    return {
        "p50_error_ms": round((statistics.median(times) - base) * 1e3, 3),
        "p99_error_ms": round((times[int(len(times) * 0.99)] - base) * 1e3, 3),
    }


async def bandwidth_of(way: Way, kilobytes: float, seconds: float) -> Figures:
    """By how many percent a limit of bandwidth is missed."""
    assert way.breaker is not None
    await way.breaker.inject(BANDWIDTH, kilobytes)
    rate, _ = await bulk(way.port, max(2.0, seconds), warm_up=0.5)
    await way.breaker.recover(BANDWIDTH)
    return {"error_percent": round((rate / (kilobytes * 1000) - 1) * 100, 2) + 0.0}


async def in_turns(places: list[Way], measure: Callable[[Way], Awaitable[Figures]], rounds: int) -> Any:
    """The same by every way, as often as there are rounds, in turns."""
    found: dict[str, list[Figures]] = {way.name: [] for way in places}
    for _ in range(rounds):
        for way in places:
            found[way.name].append(await measure(way))
    return found


async def measured(places: list[Way], seconds: float, rounds: int) -> Found:
    """All figures that the ways have in common, then those of faults."""
    with_process = [way for way in places if way.process is not None]
    found: Found = {
        "memory of 1000 connections": await in_turns(with_process, memory_of, 1)
    }  # first: while it is fresh
    kinds = {f"HTTP, {count} connections": (REQUEST, len(RESPONSE), count) for count in CONNECTIONS}
    kinds["bytes, 256 connections"] = (PLAIN_REQUEST, len(PLAIN_RESPONSE), 256)
    kinds["64 bytes, 1 connection"] = (ECHO, len(ECHO), 1)
    for name, (message, size, count) in kinds.items():

        async def asking(way: Way, message: bytes = message, size: int = size, count: int = count) -> Figures:
            return figures(await load(way.port, count, seconds, message, size), seconds)

        found[name] = await in_turns(places, asking, rounds)
        print(f"{name}: done, load {machine()['load']}", file=sys.stderr)
    found["bulk"] = await in_turns(places, lambda way: bulk_of(way, seconds), rounds)
    breakable = [way for way in places if way.breaker is not None]
    for milliseconds in LATENCIES:
        name = f"latency of {milliseconds} ms"
        found[name] = await in_turns(
            breakable, lambda way, amount=milliseconds: latency_of(way, amount, seconds), min(3, rounds)
        )
    for kilobytes in BANDWIDTHS:
        name = f"limit of {kilobytes} kB/s"
        found[name] = await in_turns(
            breakable, lambda way, amount=kilobytes: bandwidth_of(way, amount, seconds), min(2, rounds)
        )
    return found


def times_of(found: dict[str, list[Figures]], other: str, figure: str) -> str:
    """Ours divided by another way's in the same round: median, least and greatest."""
    if other not in found or figure not in found[other][0] or "error" in figure:
        return ""
    pairs = zip(found["raftchaos"], found[other], strict=True)
    ratios = [mine[figure] / its[figure] for mine, its in pairs if its[figure]]
    return cell(spread([{"times": round(each, 2)} for each in ratios])["times"]) if ratios else ""


def rows(found: Found, names: list[str]) -> list[list[str]]:
    """The table's rows: of each figure every way's, and ours as times another's."""
    result = []
    for measurement, by_way in found.items():
        spreads = {name: spread(rounds) for name, rounds in by_way.items()}
        for figure in by_way["raftchaos"][0]:
            cells = [cell(spreads[name][figure]) if figure in spreads.get(name, {}) else "" for name in names]
            ratios = [times_of(by_way, other, figure) for other in names if other != "raftchaos"]
            result.append([measurement, figure, *cells, *ratios])
    return result


def raft_rows(raft: dict[str, Any]) -> list[list[object]]:
    """The peers at rest and under load."""
    return [
        [name, f.get("connections", 0), f.get("per_second", 0), f["elections"], f["leaders"], *f["answers"].values()]
        for name, f in raft.items()
    ]


async def run(arguments: argparse.Namespace) -> None:
    """Measure everything and print it."""
    facts = machine()
    async with service([sys.executable, __file__, "--serve"]) as port:
        async with ways(port, arguments.toxiproxy_url) as places:
            names = [way.name for way in places]
            found = await measured(places, arguments.seconds, arguments.rounds)
        raft = await beside_raft(port, 1000, RAFT_SECONDS)
    others = [f"times {name}" for name in names if name != "raftchaos"]
    text = table(["", "", *names, *others], rows(found, names))
    head = ["cluster of three", "connections", "requests/s", "elections", "leaders"]
    text += "\n\n" + table([*head, *(f"answer {name}" for name in raft["idle"]["answers"])], raft_rows(raft))
    show({"machine": facts, "after": machine(), **found, "raft": raft}, text)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--toxiproxy-url", help="the HTTP API of a toxiproxy server, or of what answers it, on this host"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve() if arguments.serve else run(arguments))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The proxy beside a direct connection, in turns within one run: requests, round trips, bulk, injected latency.

    python benchmarks/proxy.py [--seconds 2] [--rounds 3]        prints JSON

Service, proxy and load are three processes on loopback. `http` are GET requests, which the proxy follows so that an
HTTP fault finds its place; `bytes` are messages of the same sizes that are not HTTP, which it only relays: the
difference is what following costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import uvloop

from raftchaos.clock import SystemClock
from raftchaos.proxy.listeners import open_listener
from raftchaos.proxy.process import ProxyProcess

REQUEST = b"GET /item/42 HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n"
BODY = b"x" * 64
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
PLAIN_REQUEST = b"\x00" + REQUEST[1:]
PLAIN_RESPONSE = b"\x00" + RESPONSE[1:]
CONNECTIONS = 256  # of the measurement of injected latency
PACE = 2000  # requests a second of all of them
BULK = b"B" * (256 * 1024)


class ServiceSide(asyncio.Protocol):
    """Answers each whole request; echoes what begins with `E`; sends bulk to what begins with `B`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.bulk = False

    def data_received(self, data: bytes) -> None:
        if data[:1] == b"E":
            self.transport.write(data)
        elif data[:1] == b"B":
            self.bulk = True
            self.resume_writing()
        else:
            self.transport.write(RESPONSE if data[:1] == b"G" else PLAIN_RESPONSE)

    def pause_writing(self) -> None:
        self.bulk = False

    def resume_writing(self) -> None:
        self.bulk = True
        while self.bulk and not self.transport.is_closing():
            self.transport.write(BULK)


class Load(asyncio.Protocol):
    """Sends a message, waits for `size` bytes and a pause of seconds, and sends it again."""

    def __init__(self, message: bytes, size: int, times: list[float], pause: float = 0.0) -> None:
        self.message, self.size, self.times, self.pause = message, size, times, pause
        self.missing = size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        if not self.transport.is_closing():
            self.missing, self.sent = self.size, time.perf_counter()
            self.transport.write(self.message)

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing <= 0:
            self.times.append(time.perf_counter() - self.sent)
            if self.pause:
                asyncio.get_running_loop().call_later(self.pause, self.send)
            else:
                self.send()


class Drain(asyncio.Protocol):
    """Counts bulk bytes."""

    def __init__(self) -> None:
        self.received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(b"B")

    def data_received(self, data: bytes) -> None:
        self.received += len(data)


async def serve() -> None:
    """The service process; prints its port."""
    server = await asyncio.get_running_loop().create_server(ServiceSide, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def load(
    port: int,
    connections: int,
    seconds: float,
    message: bytes,
    size: int,
    *,
    spread: float = 0.0,
    pause: float = 0.0,
) -> list[float]:
    """Round-trip times, in seconds, of a closed loop on so many connections, which begin over `spread` seconds and
    pause after each round trip.
    """
    times: list[float] = []
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(connections):
        opened.append(await loop.create_connection(lambda: Load(message, size, times, pause), "127.0.0.1", port))
        await asyncio.sleep(spread / connections)
    await asyncio.sleep(seconds / 10)
    times.clear()
    await asyncio.sleep(seconds)
    result = list(times)
    for transport, _ in opened:
        transport.abort()
    await asyncio.sleep(0.05)
    return result


async def bulk(port: int, seconds: float) -> float:
    """Bytes a second from the service on one connection."""
    loop = asyncio.get_running_loop()
    transport, drain = await loop.create_connection(Drain, "127.0.0.1", port)
    await asyncio.sleep(seconds / 10)
    before, begin = drain.received, time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (drain.received - before) / (time.perf_counter() - begin)
    transport.abort()
    await asyncio.sleep(0.05)
    return rate


def figures(times: list[float], seconds: float) -> dict[str, float]:
    """Requests a second, and p50 and p99 in microseconds."""
    ordered = sorted(times)
    return {
        "per_second": round(len(times) / seconds),
        "p50_us": round(statistics.median(ordered) * 1e6, 1),
        "p99_us": round(ordered[int(len(ordered) * 0.99)] * 1e6, 1),
    }


def middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


async def paired(ports: dict[str, int], measure: Callable[[int], object], rounds: int) -> dict[str, dict[str, float]]:
    """The same measurement direct and through the proxy, in turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
    for _ in range(rounds):
        for name, port in ports.items():
            found[name].append(await measure(port))  # type: ignore[misc]
    return {name: middle(rounds_of) for name, rounds_of in found.items()}


async def injected(proxy: ProxyProcess, ports: dict[str, int], latency_ms: float, seconds: float) -> dict[str, float]:
    """By how much later than it says an injected latency is, beyond an untouched round trip, at 256 connections that
    send 2000 requests a second together: few enough that none waits for a processor.
    """
    plain = await load(ports["proxy"], 1, 0.5, REQUEST, len(RESPONSE))
    run, clock = f"bench-{latency_ms}", SystemClock()
    await proxy.inject(run, "latency", "bench", {"latencyMs": latency_ms}, 1, clock.boot() + 300)
    length = max(seconds, 3 * latency_ms / 1000)
    cycle = max(CONNECTIONS / PACE, latency_ms / 1000)
    pause = cycle - latency_ms / 1000
    times = sorted(await load(ports["proxy"], CONNECTIONS, length, REQUEST, len(RESPONSE), spread=cycle, pause=pause))
    await proxy.recover(run)
    base = latency_ms / 1000 + statistics.median(plain)
    return {
        "p50_error_ms": round((statistics.median(times) - base) * 1e3, 3),
        "p99_error_ms": round((times[int(len(times) * 0.99)] - base) * 1e3, 3),
    }


async def run(seconds: float, rounds: int) -> dict[str, object]:
    """Everything."""
    service = await asyncio.create_subprocess_exec(sys.executable, __file__, "--serve", stdout=subprocess.PIPE)
    assert service.stdout is not None
    port = int(await service.stdout.readline())
    with tempfile.TemporaryDirectory() as folder:
        proxy = ProxyProcess(Path(folder) / "proxy.sock", SystemClock())
        await proxy.start()
        try:
            with open_listener("127.0.0.1:0") as sock:
                own = sock.getsockname()[1]
                await proxy.add_proxy("bench", f"127.0.0.1:{own}", f"127.0.0.1:{port}", sock)
                return await measure_all(proxy, {"direct": port, "proxy": own}, seconds, rounds)
        finally:
            await proxy.stop()
            service.kill()
            await service.wait()


async def measure_all(proxy: ProxyProcess, ports: dict[str, int], seconds: float, rounds: int) -> dict[str, object]:
    """All figures, with the proxy in place."""
    report: dict[str, object] = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    kinds = {"http": (REQUEST, len(RESPONSE)), "bytes": (PLAIN_REQUEST, len(PLAIN_RESPONSE)), "echo64": (b"E" * 64, 64)}
    for kind, (message, size) in kinds.items():
        for connections in (1, 16, 256) if kind != "echo64" else (1,):

            async def one(port: int, message: bytes = message, size: int = size, n: int = connections) -> object:
                return figures(await load(port, n, seconds, message, size), seconds)

            report[f"{kind}_{connections}"] = await paired(ports, one, rounds)

    async def bulk_gbit(port: int) -> object:
        return {"gbit_per_second": round(await bulk(port, seconds) * 8 / 1e9, 2)}

    report["bulk"] = await paired(ports, bulk_gbit, rounds)
    report["latency"] = {f"{ms}_ms": await injected(proxy, ports, ms, seconds) for ms in (5, 50, 500)}
    report["process"] = await proxy.figures()
    return report


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if arguments.serve:
            runner.run(serve())
        else:
            print(json.dumps(runner.run(run(arguments.seconds, arguments.rounds)), indent=2))


if __name__ == "__main__":
    main()

"""Whether a proxy with many connections delays Raft: three real peers, and a load through the proxy of their leader."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.report import quantiles
from benchmarks.traffic import REQUEST, RESPONSE, close, opened
from raftchaos.launch import free_port
from tests.system.harness import Cluster

PEERS = 3
LOOK = 0.05  # seconds between two looks at each peer


async def watched(session: aiohttp.ClientSession, apis: list[int], seconds: float) -> dict[str, Any]:
    """How long the peers took to answer, and the terms and leaders that they named."""
    times: list[float] = []
    terms: set[int] = set()
    leaders: set[str | None] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for api in apis:
            began = time.perf_counter()
            async with session.get(f"http://127.0.0.1:{api}/api/v1/status") as answer:
                status = await answer.json()
            times.append(time.perf_counter() - began)
            terms.add(status["term"])
            leaders.add(status["leader"])
        await asyncio.sleep(LOOK)
    return {"answers": quantiles(times), "elections": max(terms) - min(terms), "leaders": len(leaders)}


async def _measure(apis: list[int], port: int, connections: int, seconds: float) -> dict[str, Any]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        before = await watched(session, apis, seconds / 2)
        times: list[float] = []
        loops = await opened(port, connections, REQUEST, len(RESPONSE), times)
        times.clear()
        during = await watched(session, apis, seconds)
        during |= {"connections": sum(each.answered for each in loops), "per_second": round(len(times) / seconds)}
        await close(loops)
        after = await watched(session, apis, 1)
    during["elections"] = max(during["elections"], after["elections"])
    return {"idle": before, "loaded": during}


async def beside_raft(service: int, connections: int, seconds: float) -> dict[str, Any]:
    """The peers at rest, and while so many connections ask through the leader's proxy as fast as they can."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), ("--insecure",))
        ports: dict[str, int] = {}

        def proxies(name: str) -> list[dict[str, str]]:
            ports[name] = free_port()
            return [{"name": "bench", "listen": f"127.0.0.1:{ports[name]}", "upstream": f"127.0.0.1:{service}"}]

        try:
            await asyncio.to_thread(cluster.start, PEERS, proxies)
            leader = await asyncio.to_thread(cluster.leader)
            return await _measure([each.api for each in cluster.running()], ports[leader.name], connections, seconds)
        finally:
            await asyncio.to_thread(cluster.end)

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from raftchaos.api import ApiServer
from raftchaos.api.callers import Door
from raftchaos.client import Client
from raftchaos.clock import SystemClock
from tests.unit.api.fake_peer import FakePeer, Served, SharedLog


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    log = SharedLog()
    peers = [FakePeer(log, name) for name in log.nodes]
    servers = [ApiServer(peer, SystemClock()) for peer in peers]
    addresses = [await server.start("127.0.0.1", 0, Door(insecure=True)) for server in servers]
    async with Client(addresses, timeout=3.0) as client:
        yield Served(log, peers, servers, addresses, client)
    for server in servers:
        await server.stop()


@pytest.fixture
def document() -> dict[str, object]:
    return {
        "apiVersion": "raftchaos.io/v1",
        "kind": "ChaosOrchestration",
        "metadata": {"name": "slow-payments"},
        "spec": {"steps": [{"name": "slow", "scenario": "latency", "durationSeconds": 10}]},
    }

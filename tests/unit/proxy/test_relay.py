"""Connections that end at an awkward moment are not kept."""

from __future__ import annotations

import asyncio
import socket

import pytest

from raftchaos.clock import SystemClock
from raftchaos.proxy.__main__ import event_loop
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM
from raftchaos.proxy.dataplane import DataPlane
from raftchaos.proxy.listeners import open_listener
from raftchaos.proxy.relay import Relay
from raftchaos.proxy.specs import ProxySpec


async def _open_connections(clients: int) -> int:
    """How many connections a proxy has at the end, after so many clients have connected."""
    plane = DataPlane(SystemClock())
    service = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    sock = open_listener("127.0.0.1:0")
    own, upstream = (f"127.0.0.1:{each.getsockname()[1]}" for each in (sock, service.sockets[0]))
    await plane.add_proxy(ProxySpec("web", own, upstream), sock)
    stats = plane.proxies["web"].stats
    for _ in range(clients):
        with socket.create_connection(sock.getsockname()) as client:
            client.setblocking(False)
            async with asyncio.timeout(10):
                with pytest.raises(ConnectionResetError):
                    await asyncio.get_running_loop().sock_recv(client, 1)
    for _ in range(200):
        if not stats.active:
            break
        await asyncio.sleep(0.01)
    left = stats.active
    await plane.stop()
    service.close()
    return left


def test_a_client_that_is_lost_just_when_the_service_is_reached_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Relay.made

    def made_and_lost(relay: Relay, direction: int) -> None:
        made(relay, direction)
        if direction == DOWNSTREAM:
            relay.lost(UPSTREAM)  # what its reset does when the loop has both news in one turn

    monkeypatch.setattr(Relay, "made", made_and_lost)
    with asyncio.Runner(loop_factory=event_loop) as runner:
        assert runner.run(_open_connections(3)) == 0

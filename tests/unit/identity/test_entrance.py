"""The entrance of a port that speaks TLS, when many come at once."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

from raftchaos.identity.certificates import Authority
from raftchaos.identity.entrance import Entrance
from raftchaos.identity.tls import Contexts
from tests.unit.identity.issuing import CLUSTER, peer_files

BURST, MOST = 60, 4


async def test_a_burst_of_connections_leaves_no_more_open_than_may_shake_hands(tmp_path: Path) -> None:
    contexts = Contexts(*peer_files(tmp_path / "peer", Authority.create(CLUSTER, time.time()), "node-1"))
    refused: list[object] = []
    entrance = Entrance(
        contexts.api, asyncio.Protocol, complain=lambda address, _: refused.append(address), most=MOST, seconds=60.0
    )
    port = await entrance.start("127.0.0.1", 0, backlog=BURST)
    loop = asyncio.get_running_loop()
    clients = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(BURST)]  # the kernel takes all of them
    for client in clients:
        client.setblocking(False)
    readers = [loop.create_task(_until_closed(client)) for client in clients]
    async with asyncio.timeout(10):
        while sum(reader.done() for reader in readers) < BURST - MOST:
            await asyncio.wait([one for one in readers if not one.done()], return_when=asyncio.FIRST_COMPLETED)
    assert entrance.shaking == MOST
    assert len(refused) == BURST - MOST
    entrance.close()
    await entrance.wait_closed()
    async with asyncio.timeout(10):
        await asyncio.gather(*readers)
    for client in clients:
        client.close()


async def _until_closed(client: socket.socket) -> None:
    try:
        assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
    except ConnectionError:
        return

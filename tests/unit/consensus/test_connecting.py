"""Attempts to connect that are given up."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

import pytest
import uvloop

from raftchaos.consensus.connection import Connection
from raftchaos.consensus.handshake import Identity
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.transport import TcpTransport
from raftchaos.launch import free_port


async def given_up_as_it_connects(greeted: bool) -> None:
    """Give an attempt up in the turn of the loop in which its connection stands, then close everything.

    A busy loop reads what the other side has said in that same turn.
    """
    listening = socket.create_server(("127.0.0.1", 0))  # the kernel alone connects; nobody has to accept
    port = listening.getsockname()[1]
    me = Identity("test-cluster", "b", "directory-of-b", 1, f"127.0.0.1:{free_port()}")
    transport = TcpTransport(me, listen=me.address, silence=1.0, rng=random.Random(1))
    transport.leaderless = lambda: True
    other = Identity("test-cluster", "a", "directory-of-a", 1, f"127.0.0.1:{port}")
    attempt = asyncio.create_task(transport._attempt(PeerNode("a", f"127.0.0.1:{port}")))
    opened, stood = transport.opened, asyncio.Event()

    def stands(connection: Connection) -> None:
        opened(connection)
        if greeted:
            connection.data_received(other.hello("b"))
            assert connection.greeted
        stood.set()
        attempt.cancel()

    transport.opened = stands  # type: ignore[method-assign]
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await attempt
        assert stood.is_set()
        assert not transport._connections, "whom it is not connected to it tries again"
        async with asyncio.timeout(5):
            await transport.close()
    finally:
        listening.close()


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_attempt_that_is_given_up_as_it_connects_leaves_nothing(loop: object, greeted: bool) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        runner.run(given_up_as_it_connects(greeted))

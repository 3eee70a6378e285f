"""The listening socket of a proxy: taken down and up again, its port kept meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket

import pytest

from raftchaos.proxy.__main__ import event_loop
from raftchaos.proxy.entrance import Entrance
from raftchaos.proxy.listeners import open_listener

Address = tuple[str, int]


def serve(address: Address) -> socket.socket:
    """A server that listens as nearly all do: beside the open connections of the one before (SO_REUSEADDR)."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


async def connected(address: Address) -> asyncio.StreamWriter:
    async with asyncio.timeout(10):
        return (await asyncio.open_connection(*address))[1]


async def test_a_port_that_refuses_is_taken_by_nobody_and_listens_again_beside_open_connections() -> None:
    sock = open_listener("127.0.0.1:0")
    address = sock.getsockname()
    entrance = Entrance(sock, asyncio.Protocol)
    await entrance.start()
    stays = await connected(address)
    for _ in range(2):
        entrance.set_open(False)
        with pytest.raises(ConnectionRefusedError):
            await connected(address)
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(OSError) as found:
                serve((host, address[1])).close()
            assert found.value.errno == errno.EADDRINUSE
        entrance.set_open(True)
        (await connected(address)).close()
    stays.close()
    await entrance.stop()
    sock.close()


async def test_a_new_process_listens_on_a_socket_that_the_last_one_had_taken_down() -> None:
    sock = open_listener("127.0.0.1:0")
    address = sock.getsockname()
    first = Entrance(sock, asyncio.Protocol)
    await first.start()
    stays = await connected(address)
    first.set_open(False)
    await first.stop()
    second = Entrance(sock, asyncio.Protocol)
    await second.start()
    (await connected(address)).close()
    stays.close()
    await second.stop()
    sock.close()


async def _turns_until_accepted(clients: int) -> int:
    accepted = 0

    def accept() -> asyncio.Protocol:
        nonlocal accepted
        accepted += 1
        return asyncio.Protocol()

    with open_listener("127.0.0.1:0") as sock, contextlib.ExitStack() as open_ones:
        for _ in range(clients):
            open_ones.enter_context(socket.create_connection(sock.getsockname()))
        entrance = Entrance(sock, accept)
        await entrance.start()
        turns = 0
        async with asyncio.timeout(10):
            while accepted < clients:
                turns += 1
                await asyncio.sleep(0)
        await entrance.stop()
    return turns


def test_who_waits_to_be_accepted_does_not_wait_a_turn_of_the_busy_loop_for_each_before() -> None:
    with asyncio.Runner(loop_factory=event_loop) as runner:
        assert runner.run(_turns_until_accepted(160)) < 40


async def test_an_entrance_for_which_file_descriptors_are_lacking_lets_nobody_in() -> None:
    entered: list[asyncio.Protocol] = []

    def accept() -> asyncio.Protocol:
        entered.append(asyncio.Protocol())
        return entered[-1]

    with open_listener("127.0.0.1:0") as sock:
        entrance = Entrance(sock, accept)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(sock.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, hard))
        try:
            with pytest.raises(OSError) as found:
                await entrance.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert found.value.errno == errno.EMFILE
        waits = await connected(sock.getsockname())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not entered
        waits.close()
        await entrance.stop()

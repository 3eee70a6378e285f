"""What the faults do, measured from outside: with a client's clock and by what the service saw."""

from __future__ import annotations

import pytest

from tests.unit.proxy.proxy_world import World, boot


async def test_without_faults_everything_passes(world: World) -> None:
    assert await world.get("/a") == (200, b"GET /a 0")
    reader, writer = await world.connect("echo")
    writer.write(b"\x16\x03\x01hello")
    assert await reader.readexactly(8) == b"\x16\x03\x01hello"
    writer.write_eof()
    assert await reader.read() == b""
    stats = await world.process.stats()
    assert stats["web"]["requests"] == 1
    assert stats["echo"] | {"active": 0} == {
        "connections": 1,
        "active": 0,
        "refused": 0,
        "requests": 0,
        "bytes_up": 8,
        "bytes_down": 8,
        "upstream_errors": 0,
    }


async def test_latency(world: World) -> None:
    run = await world.inject("latency", latencyMs=100)
    begin = boot()
    assert (await world.get())[0] == 200
    assert 0.1 <= boot() - begin < 0.3
    effect = await world.process.recover(run)
    assert effect["touched"] == effect["requests"] == effect["connections"] == 1
    assert 100 <= effect["delayedMs"] < 110
    begin = boot()
    await world.get()
    assert boot() - begin < 0.1


async def test_http_error(world: World) -> None:
    run = await world.inject("http_error", statusCode=502)
    assert (await world.get())[0] == 502
    assert world.service.seen == []
    assert (await world.process.recover(run))["touched"] == 1
    assert (await world.get())[0] == 200


async def test_reset_peer(world: World) -> None:
    reader, _ = await world.connect("echo")
    run = await world.inject("reset_peer", "echo")
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    reader, _ = await world.connect("echo")
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    assert (await world.process.recover(run))["touched"] == 2
    reader, writer = await world.connect("echo")
    writer.write(b"x")
    assert await reader.read(1) == b"x"

"""What the faults do, measured from outside: with a client's clock and by what the service saw."""

from __future__ import annotations

import asyncio
import random

import pytest

from raftchaos.errors import FaultRefused
from raftchaos.proxy.chance import draw
from tests.unit.proxy.proxy_world import World, boot, read_response, request


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
        "sent_up": 8,
        "sent_down": 8,
        "upstream_errors": 0,
    }
    assert (await world.process.figures())["rss_bytes"] > 0


@pytest.mark.parametrize(("direction", "least"), [("downstream", 0.1), ("upstream", 0.1), ("both", 0.2)])
async def test_latency_adds_what_it_says(world: World, direction: str, least: float) -> None:
    run = await world.inject("latency", latencyMs=100, direction=direction)
    begin = boot()
    assert (await world.get())[0] == 200
    assert least <= boot() - begin < 3 * least
    effect = await world.process.recover(run)
    assert effect["touched"] == effect["requests"] == effect["connections"] == 1
    assert effect["delayedMs"] == round(least * 1000)
    begin = boot()
    await world.get()
    assert boot() - begin < 0.1


async def test_latency_keeps_order_and_throughput(world: World) -> None:
    """Eight megabytes under 100 ms: one delay in all, not one a chunk, and not a byte out of place."""
    run = await world.inject("latency", "echo", latencyMs=100)
    data = random.Random(1).randbytes(8 * 1024 * 1024)
    reader, writer = await world.connect("echo")
    begin = boot()
    writer.write(data)
    writer.write_eof()
    assert await reader.read(-1) == data
    assert 0.1 <= boot() - begin < 3
    assert (await world.process.recover(run))["bytes"] == len(data)


async def test_http_error_hits_the_share_that_its_seed_says(world: World) -> None:
    run = await world.inject("http_error", statusCodes=[500, 503], probability=0.3, seed=11)
    reader, writer = await world.connect()
    statuses = []
    for _ in range(200):
        writer.write(request("GET", "/"))
        statuses.append((await read_response(reader))[0])
    hit = [draw(11, 0, number) < 0.3 for number in range(200)]
    assert [status != 200 for status in statuses] == hit
    assert {500, 503} < set(statuses)
    assert len(world.service.seen) == 200 - sum(hit)
    assert await world.process.recover(run) == {"touched": sum(hit), "requests": sum(hit), "passed": 200 - sum(hit)}


async def test_a_kept_alive_connection_stays_whole(world: World) -> None:
    """100 mixed requests, pipelined by five, on one connection on which faults come and go."""
    chance = random.Random(3)
    reader, writer = await world.connect()
    expected, run = 0, ""
    for batch in range(20):
        if batch % 4 == 1:
            run = await world.inject("http_error", probability=0.5, seed=batch, body="")
        elif batch % 4 == 3:
            expected += (await world.process.recover(run))["touched"]
        mixed = [
            (
                chance.choice(["GET", "POST", "HEAD", "PUT"]),
                chance.choice(["/", "/chunked"]),
                chance.randbytes(chance.choice([0, 3, 5000, 200_000])),
                chance.random() < 0.5,
            )
            for _ in range(5)
        ]
        writer.write(
            b"".join(request(method, target, body, chunked=chunked) for method, target, body, chunked in mixed)
        )
        for method, target, body, _ in mixed:
            status, answer = await read_response(reader, method)
            if method != "HEAD" and status == 200:
                assert answer == f"{method} {target} {len(body)}".encode()
            expected -= status == 503
    assert expected == 0, "every error that a client saw is one that was counted"
    assert world.service.connections == 1


async def test_a_connection_that_was_opened_before_takes_the_fault(world: World) -> None:
    reader, writer = await world.connect()
    half = request("POST", "/", b"0123456789")
    writer.write(half[:-5])
    while (await world.process.stats())["web"]["requests"] == 0:
        pass
    run = await world.inject("http_error")
    writer.write(half[-5:] + request("GET", "/"))
    assert [(await read_response(reader))[0] for _ in range(2)] == [200, 503]
    await world.process.recover(run)
    writer.write(request("GET", "/"))
    assert (await read_response(reader))[0] == 200


async def test_http_error_on_what_is_not_http_says_that_it_touched_nothing(world: World) -> None:
    run = await world.inject("http_error", "echo")
    reader, writer = await world.connect("echo")
    writer.write(b"\x16\x03\x01\x00\x05hello")
    assert await reader.readexactly(10) == b"\x16\x03\x01\x00\x05hello"
    assert await world.process.recover(run) == {"touched": 0, "skipped_tls": 1}


async def test_reset_peer(world: World) -> None:
    reader, _ = await world.connect("echo")
    run = await world.inject("reset_peer", "echo")
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            await connect_and_read(world)
    assert (await world.process.recover(run))["touched"] == 3
    reader, writer = await world.connect("echo")
    writer.write(b"x")
    assert await reader.read(1) == b"x"


async def connect_and_read(world: World) -> None:
    """The connecting may meet the reset already."""
    reader, _ = await world.connect("echo")
    await reader.read(1)


async def test_reset_peer_waits_and_takes_its_share(world: World) -> None:
    run = await world.inject("reset_peer", "echo", probability=0.5, afterMs=200, seed=5)
    outcomes = []
    for _ in range(12):
        reader, writer = await world.connect("echo")
        writer.write(b"x")
        assert await reader.read(1) == b"x", "it lives until then"
        outcomes.append(asyncio.ensure_future(reader.read(1)))
    hit = [draw(5, number) < 0.5 for number in range(12)]
    done, _ = await asyncio.wait(outcomes, timeout=2)
    assert [outcome in done for outcome in outcomes] == hit
    assert all(isinstance(outcome.exception(), ConnectionResetError) for outcome in done)
    assert (await world.process.recover(run))["touched"] == sum(hit)
    for outcome in outcomes:
        outcome.cancel()


async def test_two_faults_compose_and_end_apart(world: World) -> None:
    slow = await world.inject("latency", latencyMs=150)
    error = await world.inject("http_error")
    begin = boot()
    assert (await world.get())[0] == 503
    assert boot() - begin >= 0.15
    await world.process.recover(slow)
    begin = boot()
    assert (await world.get())[0] == 503
    assert boot() - begin < 0.15
    await world.process.recover(error)
    assert (await world.get())[0] == 200


async def test_the_end_of_the_lease_ends_everything_without_a_word(world: World) -> None:
    """No message comes; a request that is held is let go, and a new one is not touched."""
    slow = await world.inject("latency", latencyMs=30_000, lease=0.5)
    end = boot() + 0.5
    error = await world.inject("http_error", "echo", lease=0.5)
    status, _ = await asyncio.wait_for(world.get(), 5)
    assert status == 200
    assert end - 0.1 <= boot() < end + 1
    begin = boot()
    assert (await world.get())[0] == 200
    assert boot() - begin < 5
    effects = await world.process.effects()
    assert effects[slow]["touched"] == 1
    assert effects[error]["touched"] == 0


async def test_a_lease_that_has_ended_is_not_extended(world: World) -> None:
    run = await world.inject("http_error", lease=0.2)
    await asyncio.sleep(await lease_end(world) - boot() + 0.05)
    world.process.set_lease(boot() + 60)
    assert (await world.get())[0] == 200
    with pytest.raises(FaultRefused, match="is over"):
        await world.process.inject(run, "http_error", "web", {}, 7, boot() + 60)
    with pytest.raises(FaultRefused, match="lease ended"):
        await world.inject("http_error", lease=-1)
    await world.inject("http_error")
    assert (await world.get())[0] == 503


async def lease_end(world: World) -> float:
    client = world.process._client
    assert client is not None
    return float((await client.hello())["lease_end"])


async def test_a_renewed_lease_goes_on(world: World) -> None:
    await world.inject("http_error", lease=0.3)
    end = boot() + 1
    while boot() < end:
        world.process.set_lease(boot() + 0.3)
        assert (await world.get())[0] == 503
    while (await world.get())[0] == 503:
        assert boot() < end + 1

"""The faults of the data plane, measured from outside: a client's own clock, the bytes that it got, errors of sockets.

Real proxy processes between real sockets on loopback; what the proxy reports is compared with what was measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession, WSMsgType, web
from aiohttp.test_utils import TestServer

from raftchaos.clock import SystemClock
from raftchaos.proxy.faults import FAULTS
from raftchaos.proxy.listeners import listen_address, open_listener
from raftchaos.proxy.process import ProxyProcess
from tests.unit.proxy.engine_driver import complete
from tests.unit.proxy.proxy_world import World, read_response, request

DATA = random.Random(5).randbytes(400_000)
SLACK = 0.5  # seconds that a busy machine may add to what is measured
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A proxy process in front of an HTTP service and an echo service."""
    process = ProxyProcess(tmp_path / "proxy.sock", SystemClock(), log_path=tmp_path / "proxy.log")
    await process.start()
    async with World.open(process) as opened:
        yield opened
    await process.stop()


async def inject(world: World, kind: str, proxy: str = "echo", **parameters: object) -> str:
    """As a peer does it: with all parameters."""
    return await world.inject(kind, proxy, **complete(kind, parameters))


async def echoed(world: World, data: bytes = b"\x00ping") -> float:
    """Seconds of one round trip on a connection of its own."""
    reader, writer = await world.connect("echo")
    begin = time.monotonic()
    writer.write(data)
    assert await reader.readexactly(len(data)) == data
    return time.monotonic() - begin


async def ended(reader: asyncio.StreamReader) -> str:
    """How the connection ends, within ten seconds."""
    try:
        async with asyncio.timeout(10):
            while await reader.read(65536):
                pass
    except ConnectionResetError:
        return "reset"
    return "closed"


# ---- any TCP


@pytest.mark.parametrize("milliseconds", [5, 50])
async def test_latency_as_the_client_sees_it(world: World, milliseconds: int) -> None:
    reader, writer = await world.connect("echo")
    run, times = await inject(world, "latency", latencyMs=milliseconds), []
    for _ in range(60):
        begin = time.monotonic()
        writer.write(b"\x00")
        await reader.readexactly(1)
        times.append(1000 * (time.monotonic() - begin))
    effect = await world.process.recover(run)
    assert min(times) >= milliseconds
    assert statistics.median(times) < milliseconds + 5
    assert (effect["touched"], effect["delayedMs"]) == (60, 60 * milliseconds)
    assert await echoed(world) < milliseconds / 1000 + SLACK


async def test_latency_from_a_measurement(world: World) -> None:
    points = [{"percent": 50, "latencyMs": 1}, {"percent": 90, "latencyMs": 20}, {"percent": 100, "latencyMs": 60}]
    await inject(world, "latency", quantiles=points)
    reader, writer = await world.connect("echo")
    times = []
    for _ in range(150):
        begin = time.monotonic()
        writer.write(b"\x00")
        await reader.readexactly(1)
        times.append(1000 * (time.monotonic() - begin))
    times.sort()
    assert times[60] < 10
    assert times[145] > 20


@pytest.mark.parametrize("direction", ["downstream", "upstream"])
async def test_bandwidth_within_three_percent(world: World, direction: str) -> None:
    run, expected, errors = await inject(world, "bandwidth", kilobytesPerSecond=200, direction=direction), 2.0, []
    while not errors or (abs(errors[-1]) > 0.03 and len(errors) < 4):  # others may use this machine
        reader, writer = await world.connect("echo")
        begin = time.monotonic()
        writer.write(DATA)
        assert await reader.readexactly(len(DATA)) == DATA
        errors.append((time.monotonic() - begin) / expected - 1)
    assert all(error > -0.03 for error in errors)
    assert errors[-1] <= 0.03, errors
    assert (await world.process.recover(run))["bytes"] == len(errors) * len(DATA)


async def test_slow_close(world: World) -> None:
    run = await inject(world, "slow_close", delayMs=700)
    reader, writer = await world.connect("echo")
    writer.write(b"\x00")
    writer.write_eof()
    begin = time.monotonic()
    assert await reader.read() == b"\x00"
    assert 0.7 <= time.monotonic() - begin < 0.7 + SLACK
    assert (await world.process.recover(run))["touched"] == 1


async def test_timeout_is_a_cable_that_was_pulled_and_put_back(world: World) -> None:
    reader, writer = await world.connect("echo")
    run = await inject(world, "timeout", timeoutMs=0)
    writer.write(DATA[:5000])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.4)
    effect = await world.process.recover(run)
    assert await reader.readexactly(5000) == DATA[:5000]
    assert (effect["touched"], effect["bytes"]) == (1, 5000)


async def test_timeout_closes_after_its_time(world: World) -> None:
    await inject(world, "timeout", timeoutMs=400)
    begin = time.monotonic()
    reader, writer = await world.connect("echo")
    writer.write(b"\x00")
    assert await reader.read() == b""
    assert 0.4 <= time.monotonic() - begin < 0.4 + SLACK


async def test_slicer(world: World) -> None:
    run = await inject(world, "slicer", averageBytes=10, delayMs=10)
    reader, writer = await world.connect("echo")
    begin = time.monotonic()
    writer.write(DATA[:300])
    parts = []
    while sum(map(len, parts)) < 300:
        parts.append(await reader.read(65536))
    assert b"".join(parts) == DATA[:300]
    assert time.monotonic() - begin >= 0.3
    assert len(parts) > 10
    assert (await world.process.recover(run))["pieces"] == 30


async def test_limit_data_counts_bytes(world: World) -> None:
    run = await inject(world, "limit_data", limitBytes=12_345)
    reader, writer = await world.connect("echo")
    writer.write(DATA)
    assert await reader.read(-1) == DATA[:12_345]
    assert (await world.process.recover(run))["bytes"] == 12_345


async def test_limit_time_counts_from_the_first_byte(world: World) -> None:
    await inject(world, "limit_time", limitMs=500)
    reader, writer = await world.connect("echo")
    await asyncio.sleep(0.3)
    begin = time.monotonic()
    writer.write(b"\x00")
    assert await ended(reader) == "closed"
    assert 0.5 <= time.monotonic() - begin < 0.5 + SLACK


@pytest.mark.parametrize("mode", ["bitFlips", "randomBytes", "truncation"])
async def test_corrupt(world: World, mode: str) -> None:
    run = await inject(world, "corrupt", mode=mode, rate=1 if mode == "truncation" else 0.001)
    reader, writer = await world.connect("echo")
    writer.write(b"\x00" + DATA)
    writer.write_eof()
    got = await reader.read(-1)
    effect = await world.process.recover(run)
    if mode == "truncation":
        assert len(got) + effect["bytes"] == len(DATA) + 1
        assert effect["touched"] > 0
    else:
        assert sum(a != b for a, b in zip(got, b"\x00" + DATA, strict=True)) == effect["touched"]
        assert 200 < effect["touched"] < 700


async def test_refuse_takes_the_listener_down_and_leaves_what_is_open(world: World) -> None:
    reader, writer = await world.connect("echo")
    writer.write(b"\x00")
    assert await reader.read(1) == b"\x00"
    run = await inject(world, "refuse")
    with pytest.raises(ConnectionRefusedError):
        await world.connect("echo")
    assert world.ports["echo"] not in listening()
    writer.write(b"\x00")
    assert await reader.read(1) == b"\x00"
    assert (await world.get())[0] == 200, "the other proxy listens"
    assert await world.process.recover(run) == {"touched": 1, "listeners": 1}
    assert world.ports["echo"] in listening()
    assert await echoed(world) < SLACK


def listening() -> set[int]:
    """Ports at which something listens, as the kernel says."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {int(fields[1].split(":")[1], 16) for fields in map(str.split, lines) if fields[3] == "0A"}


async def test_refuse_comes_and_goes_with_a_pulse(world: World) -> None:
    pulse = {"activeSeconds": 0.2, "dormantSeconds": 0.2}
    run = await world.inject("refuse", "echo", pulse=pulse)
    said, end = [], time.monotonic() + 1.4
    while time.monotonic() < end:
        try:
            await echoed(world)
            said.append("taken")
        except ConnectionError:
            said.append("refused")
        await asyncio.sleep(0.02)
    changes = sum(a != b for a, b in itertools.pairwise(said))
    assert changes >= 3, said
    await world.process.recover(run)
    await echoed(world)


async def test_connection_limit(world: World) -> None:
    run = await inject(world, "connection_limit", maxConnections=3)
    held = [await world.connect("echo") for _ in range(3)]
    for reader, writer in held:
        writer.write(b"\x00")
        assert await reader.read(1) == b"\x00"
    for _ in range(2):
        with contextlib.suppress(ConnectionResetError):
            reader, _ = await world.connect("echo")
            assert await ended(reader) == "reset"
    held[0][1].close()
    await eventually(lambda: echoed(world))
    assert (await world.process.recover(run))["touched"] >= 2


async def eventually(attempt: Callable[[], Awaitable[object]]) -> None:
    """Until it succeeds, for five seconds."""
    end = time.monotonic() + 5
    while True:
        try:
            await attempt()
        except (ConnectionError, asyncio.IncompleteReadError):
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        else:
            return


# ---- HTTP


async def get(streams: Streams, target: str = "/", **headers: str) -> int:
    streams[1].write(request("GET", target, **headers))
    return (await read_response(streams[0]))[0]


async def test_the_first_requests_of_a_client_fail(world: World) -> None:
    run = await inject(world, "http_error", "web", pattern="sequential", errorsInRow=2)
    streams = await world.connect()
    assert [await get(streams) for _ in range(5)] == [503, 503, 200, 200, 200]
    assert len(world.service.seen) == 3
    assert (await world.process.recover(run))["touched"] == 2


async def test_http_timeout(world: World) -> None:
    run = await inject(world, "http_timeout", "web", holdMs=600, match={"path": "/held"})
    streams = await world.connect()
    begin = time.monotonic()
    assert await get(streams, "/held") == 504
    assert 0.6 <= time.monotonic() - begin < 0.6 + SLACK
    assert await get(streams, "/other") == 200
    assert [seen.line for seen in world.service.seen] == ["GET /other HTTP/1.1"]
    assert (await world.process.recover(run))["touched"] == 1


@pytest.mark.parametrize("ending", ["reset", "close"])
async def test_http_abort(world: World, ending: str) -> None:
    run = await inject(world, "http_abort", "web", afterBytes=3, ending=ending)
    reader, writer = await world.connect()
    writer.write(request("GET", "/"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(3) == b"GET"
    assert await ended(reader) == {"reset": "reset", "close": "closed"}[ending]
    assert (await world.process.recover(run))["touched"] == 1


@pytest.mark.parametrize("target", ["/", "/chunked"])
async def test_bodies_are_changed_and_the_connection_lives_on(world: World, target: str) -> None:
    streams = await world.connect()
    whole = f"GET {target} 0".encode()
    for kind, parameters, expected in (
        ("http_partial", {"keepBytes": 5}, whole[:5]),
        ("http_replace", {"body": "{}"}, b"{}"),
        ("http_corrupt", {"rate": 0.1}, None),
    ):
        run = await inject(world, kind, "web", **parameters)
        streams[1].write(request("GET", target))
        status, body = await read_response(streams[0])
        assert status == 200
        if expected is None:
            assert len(body) == len(whole)
            assert body[0] != whole[0]
        else:
            assert body == expected
        assert (await world.process.recover(run))["touched"] == 1
    streams[1].write(request("GET", target))
    assert (await read_response(streams[0]))[1] == whole
    assert world.service.connections == 1


async def test_headers(world: World) -> None:
    up = await inject(world, "http_headers", "web", set={"X-Injected": "1"}, remove=["X-Mine"], direction="upstream")
    await get(await world.connect(), X_Mine="2", X_Kept="3")
    headers = world.service.seen[-1].headers
    assert (headers["x-injected"], headers["x-kept"], "x-mine" in headers) == ("1", "3", False)
    assert (await world.process.recover(up))["touched"] == 1


async def test_rate_limit(world: World) -> None:
    run = await inject(world, "rate_limit", "web", requestsPerSecond=20, burst=2)
    streams, found = await world.connect(), []
    begin = time.monotonic()
    while (took := time.monotonic() - begin) < 1.0:
        found.append(await get(streams))
    passed = found.count(200)
    assert 15 <= passed <= 20 * took + 3
    assert set(found) == {200, 429}
    assert (await world.process.recover(run))["touched"] == found.count(429)


async def test_the_same_users_are_in_the_sample_at_every_proxy(world: World) -> None:
    async def hit(streams: Streams, user: int) -> bool:
        return await get(streams, Cookie=f"sid={user}") == 503

    found = []
    for _ in range(2):
        run = await inject(world, "http_error", "web", sample={"percent": 20, "by": "cookie:sid"})
        streams = await world.connect()
        found.append([await hit(streams, user) for user in range(100)])
        effect = await world.process.recover(run)
        assert (effect["touched"], effect["control"]) == (sum(found[-1]), 100 - sum(found[-1]))
    assert found[0] == found[1]
    assert 8 < sum(found[0]) < 35


# ---- WebSocket and GraphQL, with a server and a client of others


async def chat(asked: web.Request) -> web.StreamResponse:
    """Echoes messages; remembers the close code."""
    socket = web.WebSocketResponse(timeout=2.0)
    await socket.prepare(asked)
    async for message in socket:
        await socket.send_str(message.data)
    asked.app[CODES].append(socket.close_code)
    return socket


async def cart(asked: web.Request) -> web.StreamResponse:
    """Answers a GraphQL operation, compressed if the client takes that."""
    name = (await asked.json())["operationName"]
    answer = web.json_response({"data": {"cart": {"total": 12, "of": name}}})
    answer.enable_compression()
    return answer


CODES = web.AppKey("codes", list[int | None])


@pytest.fixture
async def app(world: World) -> AsyncIterator[tuple[web.Application, str]]:
    """An application of aiohttp, and HOST:PORT of the proxy `app` in front of it."""
    made = web.Application()
    made[CODES] = []
    made.router.add_get("/chat", chat)
    made.router.add_post("/graphql", cart)
    async with TestServer(made) as server:
        with open_listener("127.0.0.1:0") as sock:
            address = listen_address(sock)
            await world.process.add_proxy("app", address, f"127.0.0.1:{server.port}", sock)
            yield made, address
            await world.process.remove_proxy("app")


async def test_websocket_messages_are_dropped_delayed_and_damaged(
    world: World, app: tuple[web.Application, str]
) -> None:
    async with ClientSession() as session, session.ws_connect(f"http://{app[1]}/chat", compress=15) as chatting:
        run = await inject(world, "websocket", "app", action="drop", probability=0.0)
        await chatting.send_str("compressed")
        assert await chatting.receive_str(timeout=5) == "compressed"
        await world.process.recover(run)
    drop = await inject(world, "websocket", "app", action="drop", probability=0.4)
    async with ClientSession() as session, session.ws_connect(f"http://{app[1]}/chat", compress=15) as chatting:
        for number in range(50):
            await chatting.send_str(str(number))
        got = []
        with contextlib.suppress(TimeoutError):
            while True:
                got.append(int(await chatting.receive_str(timeout=0.5)))
        effect = await world.process.recover(drop)
        assert got == sorted(set(got))
        assert 50 - len(got) == effect["touched"] > 5
        slow = await inject(world, "websocket", "app", action="delay", delayMs=400)
        begin = time.monotonic()
        await chatting.send_str("late")
        assert await chatting.receive_str(timeout=5) == "late"
        assert 0.4 <= time.monotonic() - begin < 0.4 + SLACK
        assert (await world.process.recover(slow))["touched"] == 1
        await inject(world, "websocket", "app", action="corrupt", direction="upstream")
        await chatting.send_str("hello")
        assert (await chatting.receive(timeout=5)).data != "hello"


async def test_both_ends_of_a_websocket_get_the_close_code(world: World, app: tuple[web.Application, str]) -> None:
    run = await inject(world, "websocket", "app", action="close", closeCode=1012)
    async with ClientSession() as session, session.ws_connect(f"http://{app[1]}/chat") as chatting:
        await chatting.send_str("anybody?")
        assert (await chatting.receive(timeout=5)).type in (WSMsgType.CLOSE, WSMsgType.CLOSING)
        assert chatting.close_code == 1012
    end = time.monotonic() + 5
    while not app[0][CODES]:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    assert app[0][CODES] == [1012]
    assert (await world.process.recover(run))["touched"] == 1


async def test_graphql_by_operation(world: World, app: tuple[web.Application, str]) -> None:
    async def ask(session: ClientSession, name: str) -> object:
        question = {"operationName": name, "query": f"query {name} {{ cart {{ total }} }}"}
        async with session.post(f"http://{app[1]}/graphql", json=question) as answer:
            return await answer.json()

    whole = {"data": {"cart": {"total": 12, "of": "Other"}}}
    async with ClientSession() as session:
        for parameters, expected in (
            ({"message": "no"}, {"data": None, "errors": [{"message": "no"}]}),
            ({"nullField": "cart.total"}, {"data": {"cart": {"total": None, "of": "Cart"}}}),
        ):
            run = await inject(world, "graphql", "app", operation="Cart", **parameters)
            assert await ask(session, "Cart") == expected
            assert await ask(session, "Other") == whole
            assert (await world.process.recover(run))["touched"] == 1
        assert await ask(session, "Other") == whole


# ---- the end


async def blocked(world: World) -> asyncio.Task[None] | None:
    """Nobody reads: the client sends until nothing is taken any more."""
    _, writer = await world.connect("echo")
    writer.write(b"\x00" + DATA * 20)
    return None


async def half_open(world: World) -> asyncio.Task[None] | None:
    """The client has closed its half."""
    _, writer = await world.connect("echo")
    writer.write(b"\x00" + DATA)
    writer.write_eof()
    return None


async def flooded(world: World) -> asyncio.Task[None] | None:
    """The client sends and reads as fast as it can."""
    reader, writer = await world.connect("echo")

    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"\x00" + DATA)
                await writer.drain()

    async def drain() -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 20):
                pass

    async def both() -> None:
        await asyncio.gather(send(), drain())

    return asyncio.get_running_loop().create_task(both())


@pytest.mark.parametrize("state", [blocked, half_open, flooded])
async def test_a_fault_goes_within_a_second_and_disturbs_nothing_else(
    world: World, state: Callable[[World], Awaitable[asyncio.Task[None] | None]]
) -> None:
    """Every fault in turn, while a stream under it is blocked, half open or flooded; another connection lives on."""
    shaping = ["latency", "bandwidth", "slicer", "slow_close", "timeout", "corrupt", "limit_data", "refuse"]
    other = await world.connect("web")
    for kind in (*shaping, "connection_limit", "limit_time", "http_error"):
        run = await inject(world, kind, **({"timeoutMs": 0} if kind == "timeout" else {}))
        try:
            busy = await state(world)
        except ConnectionError:  # refused, or reset while it was being accepted
            assert kind in ("refuse", "connection_limit")
            busy = None
        assert await get(other) == 200
        begin = time.monotonic()
        await world.process.recover(run)
        assert time.monotonic() - begin < 1, kind
        assert await get(other) == 200
        assert await echoed(world) < 1, kind
        if busy is not None:
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)


@pytest.mark.parametrize("kind", sorted(FAULTS))
async def test_whoever_kills_the_proxy_the_fault_is_whole_again_and_goes_at_its_end(world: World, kind: str) -> None:
    parameters = {"timeoutMs": 0} if kind == "timeout" else {}
    run = await inject(world, kind, **parameters)
    pid = world.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while not world.process.ready or world.process.pid == pid:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    assert run in (await world.process.effects())
    if kind == "refuse":
        assert world.ports["echo"] not in listening()
    await world.process.recover(run)
    await eventually(lambda: echoed(world))

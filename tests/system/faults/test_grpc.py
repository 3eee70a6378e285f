"""The fault of gRPC calls as real clients and services of gRPC see it, through a real proxy process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from raftchaos.clock import SystemClock
from raftchaos.proxy.listeners import listen_address, open_listener
from raftchaos.proxy.process import ProxyProcess
from tests.unit.proxy.engine_driver import complete
from tests.unit.proxy.proxy_world import boot

SLACK = 1.0  # seconds that a busy machine may add to what is measured
LARGE = 1024 * 1024
Run = Callable[..., Any]


class Shop(grpc.GenericRpcHandler):
    """Answers without a schema: `/shop.Cart/Echo`, a stream each way and both ways."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.counted = asyncio.Event()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        self.calls.append(details.method)
        match details.method.rpartition("/")[2]:
            case "Count":
                return grpc.unary_stream_rpc_method_handler(self.count)
            case "Sum":
                return grpc.stream_unary_rpc_method_handler(self.sum)
            case "Chat":
                return grpc.stream_stream_rpc_method_handler(self.chat)
        return grpc.unary_unary_rpc_method_handler(self.echo)

    async def echo(self, request: bytes, context: Any) -> bytes:
        return request

    async def count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        context.add_done_callback(lambda _: self.counted.set())
        for number in range(int(request)):
            yield b"%d" % number
            await asyncio.sleep(0)

    async def sum(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"%d" % sum([int(request) async for request in requests])

    async def chat(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request


@dataclass
class World:
    """A shop behind a proxy, and a channel to it that stays open."""

    process: ProxyProcess
    shop: Shop
    channel: grpc.aio.Channel
    number: int = field(default=0)

    async def inject(self, **parameters: Any) -> str:
        self.number += 1
        run = f"task/0/0/node/{self.number}"
        await self.process.inject(
            run, "grpc", "shop", complete("grpc", {"probability": 1.0, **parameters}), 7, boot() + 60
        )
        return run

    async def echo(self, data: bytes = b"q", path: str = "/shop.Cart/Echo", **metadata: str) -> bytes:
        call = self.channel.unary_unary(path)
        return bytes(await call(data, metadata=tuple(metadata.items()), timeout=20))

    async def status(self, path: str = "/shop.Cart/Echo", **metadata: str) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.echo(path=path, **metadata)
        return caught.value


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    server, shop = grpc.aio.server(), Shop()
    server.add_generic_rpc_handlers((shop,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    process = ProxyProcess(tmp_path / "proxy.sock", SystemClock(), log_path=tmp_path / "proxy.log")
    await process.start()
    with open_listener("127.0.0.1:0") as sock:
        address = listen_address(sock)
        await process.add_proxy("shop", address, f"127.0.0.1:{port}", sock)
        async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            yield World(process, shop, channel)
    await process.stop()
    await server.stop(None)


async def test_a_status_comes_and_goes_on_an_open_channel(world: World) -> None:
    for number in range(50):
        assert await world.echo(b"%d" % number, trace=f"id-{number}") == b"%d" % number
    run = await world.inject(
        status="RESOURCE_EXHAUSTED", message="nothing left: 100%", match={"path": "/shop.Cart/*"}, nameFault=True
    )
    seen = len(world.shop.calls)
    for number in range(20):
        error = await world.status(trace=f"id-{number}")
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == "nothing left: 100%"
        assert ("raftchaos-fault", "grpc") in [*error.trailing_metadata(), *error.initial_metadata()]
        assert await world.echo(path="/shop.Pay/Echo") == b"q"
    assert world.shop.calls[seen:] == ["/shop.Pay/Echo"] * 20
    assert (await world.process.recover(run))["calls"] == 20
    assert await world.echo(b"x" * LARGE, trace="id-1") == b"x" * LARGE
    assert (await world.process.stats())["shop"]["connections"] == 1


async def test_a_part_of_a_hundred_calls_at_once(world: World) -> None:
    await world.echo()
    run = await world.inject(probability=0.5)

    async def one(number: int) -> bool:
        call = world.channel.unary_unary("/shop.Cart/Echo")(b"%d" % number * 3000, timeout=20)
        code = await call.code()
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
        assert code is not grpc.StatusCode.OK or await call == b"%d" % number * 3000
        return code is not grpc.StatusCode.OK

    failed = sum(await asyncio.gather(*(one(number) for number in range(100))))
    effect = await world.process.recover(run)
    assert 25 < failed < 75
    assert (effect["calls"], effect["passed"]) == (failed, 100 - failed)
    assert sum(await asyncio.gather(*(one(number) for number in range(100)))) == 0


@pytest.mark.parametrize(("status", "code"), [(None, grpc.StatusCode.INTERNAL), ("ABORTED", grpc.StatusCode.ABORTED)])
async def test_streams_are_cut_after_so_many_messages(world: World, status: str | None, code: grpc.StatusCode) -> None:
    given = {} if status is None else {"status": status}
    run = await world.inject(action="abort", afterMessages=5, match={"path": "*/Count"}, **given)
    got: list[bytes] = []
    counting = world.channel.unary_stream("/shop.Cart/Count")(b"1000000", timeout=20)
    with contextlib.suppress(grpc.aio.AioRpcError):
        async for number in counting:
            got.append(number)  # noqa: PERF401 - it ends with an error
    assert await counting.code() is code
    expected = [b"0", b"1", b"2", b"3", b"4"]
    assert got == (expected if status else expected[: len(got)]), "a reset may overtake what was not read yet"
    await asyncio.wait_for(world.shop.counted.wait(), 10)
    assert await world.echo(b"y" * LARGE) == b"y" * LARGE
    assert (await world.process.recover(run))["calls"] == 1
    whole = [int(number) async for number in world.channel.unary_stream("/shop.Cart/Count")(b"100", timeout=20)]
    assert whole == list(range(100))


async def test_an_open_stream_of_both_ways_is_cut(world: World) -> None:
    chat = world.channel.stream_stream("/shop.Cart/Chat")(timeout=20)
    for number in range(20):
        await chat.write(b"%d" % number)
        assert await chat.read() == b"%d" % number
    run = await world.inject(action="abort", afterMessages=3, direction="upstream", status="DATA_LOSS")
    answers = 0
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        while answers < 10:
            await chat.write(b"more")
            if await chat.read() == grpc.aio.EOF:
                break
            answers += 1
    assert answers <= 3
    assert await chat.code() is grpc.StatusCode.DATA_LOSS
    assert (await world.process.recover(run))["calls"] == 1
    call = world.channel.stream_unary("/shop.Cart/Sum")(iter([b"1", b"2", b"3"]), timeout=20)
    assert await call == b"6"


@pytest.mark.parametrize("direction", ["downstream", "upstream"])
async def test_messages_are_late_and_other_calls_are_not(world: World, direction: str) -> None:
    await world.echo()
    run = await world.inject(action="delay", delayMs=700, match={"path": "/slow/*"}, direction=direction)
    begin = time.monotonic()

    async def timed(path: str, size: int) -> float:
        assert await world.echo(b"z" * size, path=path) == b"z" * size
        return time.monotonic() - begin

    times = await asyncio.gather(timed("/slow/Echo", 10), timed("/slow/Echo", LARGE), timed("/shop/Echo", 10))
    assert 0.7 <= times[0] < 0.7 + SLACK
    assert times[1] >= 0.7
    assert times[2] < 0.35
    effect = await world.process.recover(run)
    assert (effect["messages"], effect["delayedMs"]) == (2, 1400)
    begin = time.monotonic()
    assert await timed("/slow/Echo", LARGE) < 0.35


async def test_what_a_delay_holds_goes_on_when_the_fault_ends(world: World) -> None:
    run = await world.inject(action="delay", delayMs=60_000)
    waiting = asyncio.ensure_future(world.echo(b"held" * 1000))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.5)
    given_up = world.channel.unary_unary("/shop.Cart/Echo")(b"x" * 1000)
    await asyncio.sleep(0)
    given_up.cancel()
    await world.process.recover(run)
    assert await asyncio.wait_for(waiting, 10) == b"held" * 1000
    with contextlib.suppress(asyncio.CancelledError):
        await given_up
    assert await world.echo() == b"q"

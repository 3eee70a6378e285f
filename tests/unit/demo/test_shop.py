"""The shop and its load, really served on loopback."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from raftchaos.demo import shop
from raftchaos.demo.checks import ask_through
from raftchaos.demo.load import Sample, generate
from raftchaos.launch import free_port


async def served(app: web.Application) -> AsyncIterator[str]:
    """Serves an application; yields its address."""
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def payments(tmp_path: Path) -> AsyncIterator[str]:
    database = tmp_path / "shop.sqlite"
    shop.create_database(database)
    shop.create_database(database)  # a second time changes nothing
    async for address in served(shop.payments_app(database)):
        yield address


@pytest.fixture
async def front(payments: str) -> AsyncIterator[str]:
    async for address in served(shop.front_app([payments])):
        yield address


async def get(address: str, path: str) -> tuple[int, str]:
    async with ClientSession() as session, session.get(f"http://{address}{path}") as answer:
        return answer.status, await answer.text()


async def test_a_checkout_is_paid(front: str) -> None:
    assert await get(front, "/checkout?item=7") == (200, '{"paid": {"item": 7, "cents": 359}}')


async def test_what_is_not_there(front: str, payments: str) -> None:
    assert (await get(front, "/checkout?item=100000"))[0] == 404
    assert (await get(payments, "/charge?item=x"))[0] == 400


async def test_one_failure_is_retried_and_two_are_told(payments: str) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    async for address in served(shop.front_app([nowhere, payments])):
        assert (await get(address, "/checkout?item=1"))[0] == 200
    async for address in served(shop.front_app([nowhere])):
        assert (await get(address, "/checkout?item=1"))[0] == 502


async def test_the_load_asks_at_its_rate_whatever_the_service_does() -> None:
    gate = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        await gate.wait()
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", slow)])
    samples: list[Sample] = []
    arrived = asyncio.Event()
    stop = asyncio.Event()

    def report(sample: Sample) -> None:
        samples.append(sample)
        arrived.set()

    async for address in served(app):
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            loading = group.create_task(generate(f"http://{address}/", 50.0, report, stop=stop))
            await asyncio.sleep(0.5)  # no answer may come in this time, however many were asked for
            assert not samples
            gate.set()
            await arrived.wait()
            stop.set()
            await loading
    dues = sorted(sample.due for sample in samples)
    assert len(dues) >= 2
    assert all(abs((b - a) - 0.02) < 1e-3 for a, b in itertools.pairwise(dues))
    # the first had waited from the moment when it was due
    assert max(sample.seconds for sample in samples) >= 0.4
    assert all(sample.status == 200 for sample in samples)


async def test_asking_through_tells_failures_and_the_typical_time(payments: str) -> None:
    failed, typical = await asyncio.to_thread(ask_through, payments, 5)
    assert failed == 0
    assert typical > 0
    assert (await asyncio.to_thread(ask_through, f"127.0.0.1:{free_port()}", 3))[0] == 3

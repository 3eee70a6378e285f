"""What `core.interfaces.ProxyControl` promises, asked of the twin in memory and of a real process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from raftchaos.clock import SystemClock
from raftchaos.core.interfaces import ProxyControl
from raftchaos.errors import RaftchaosError
from raftchaos.faults.twin import InMemoryProxy
from raftchaos.proxy.process import ProxyProcess
from tests.unit.proxy.proxy_world import World, boot, listener


@dataclass
class Subject:
    proxy: ProxyControl
    traffic: Callable[[str], Awaitable[None]]
    """Sends one request through the proxy `web`, on which this fault is."""


@pytest.fixture(params=["twin", "process"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    if request.param == "twin":
        twin = InMemoryProxy(SystemClock())
        sock = listener()
        await twin.add_proxy("web", "127.0.0.1:1", "127.0.0.1:2", sock)

        async def touch(run: str) -> None:
            twin.touch(run)

        yield Subject(twin, touch)
        sock.close()
        return
    process = ProxyProcess(tmp_path / "proxy.sock", SystemClock(), log_path=tmp_path / "log")
    await process.start()
    async with World.open(process) as world:

        async def send(run: str) -> None:
            await world.get()

        yield Subject(process, send)
    await process.stop()


async def inject(subject: Subject, run: str = "r@web", proxy: str = "web", lease: float = 60.0) -> None:
    await subject.proxy.inject(run, "http_error", proxy, {"statusCode": 503}, 1, boot() + lease)


async def test_a_fault_counts_until_it_is_forgotten(subject: Subject) -> None:
    assert subject.proxy.ready
    await inject(subject)
    await inject(subject)
    await subject.traffic("r@web")
    assert (await subject.proxy.effects())["r@web"]["touched"] == 1
    assert await subject.proxy.active() == {"r@web": ("http_error", "web")}
    for _ in range(2):
        assert (await subject.proxy.recover("r@web"))["touched"] == 1
    assert await subject.proxy.active() == {}
    await subject.traffic("r@web")
    assert (await subject.proxy.effects())["r@web"]["touched"] == 1
    for _ in range(2):
        await subject.proxy.forget("r@web")
    assert await subject.proxy.effects() == {}


async def test_an_unknown_fault_recovers_to_nothing(subject: Subject) -> None:
    assert await subject.proxy.recover("never@web") == {}
    await subject.proxy.forget("never@web")


async def test_what_cannot_be_is_refused(subject: Subject) -> None:
    with pytest.raises(RaftchaosError):
        await inject(subject, lease=-1)
    with pytest.raises(RaftchaosError):
        await inject(subject, proxy="nowhere")
    await subject.traffic("r@web")
    assert (await subject.proxy.recover("r@web")).get("touched", 0) == 0


async def test_a_lease_that_has_ended_takes_its_faults_along(subject: Subject) -> None:
    await inject(subject, lease=0.05)
    end = boot() + 0.05
    while boot() <= end:
        pass
    subject.proxy.set_lease(boot() + 60)
    await subject.traffic("r@web")
    assert (await subject.proxy.effects())["r@web"]["touched"] == 0
    await inject(subject, "later@web")
    await subject.traffic("later@web")
    assert (await subject.proxy.recover("later@web"))["touched"] == 1


async def test_proxies_come_and_go(subject: Subject) -> None:
    assert "web" in await subject.proxy.stats()
    for _ in range(2):
        await subject.proxy.remove_proxy("web")
    assert "web" not in await subject.proxy.stats()
    with pytest.raises(RaftchaosError):
        await inject(subject)

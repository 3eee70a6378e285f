"""Faults that are a caller's own: a record first, a lease that main renews, an end by halt or by hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from raftchaos import limits
from raftchaos.core.caller_proxies import WantedFault
from raftchaos.errors import Halted, ProxyUnavailable, RaftchaosError, Refused
from raftchaos.faults import build_faults
from raftchaos.faults.base import Host
from raftchaos.faults.executor import FaultExecutor
from raftchaos.faults.own import OwnFaults
from raftchaos.faults.twin import InMemoryProxy
from raftchaos.faults.undo import UndoJournal
from raftchaos.faults.watching import start_of

SLOW = (WantedFault("latency", {"latencyMs": 100}),)


class SteppedClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def boot(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class NoSocket:
    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        return


class Reaper:
    """It stands, and there is no lease of the node."""

    standing = True
    lease_end = 0.0


class Bench:
    def __init__(self, data_dir: Path) -> None:
        self.clock = SteppedClock()
        self.journal = UndoJournal(data_dir)
        self.proxy = InMemoryProxy(self.clock)
        self.halted = False
        host = Host(proxy=self.proxy, data_dir=data_dir)
        faults = build_faults(host, ("latency", "timeout", "refuse"))
        self.executor = FaultExecutor(
            host, node="a", clock=self.clock, reaper=Reaper(), proxies=lambda: ["web"], faults=faults
        )
        self.own = OwnFaults(self.executor, self.proxy, self.clock, incarnation=7, check=self.check)

    def check(self) -> None:
        if self.halted:
            raise Halted("halted")

    async def put(self, label: str = "slow", **more: str) -> str:
        return await self.own.put(label, "web", SLOW, **more)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.own.wake()
                await asyncio.sleep(0.01)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.proxy.add_proxy("web", "127.0.0.1:1", "127.0.0.1:2", NoSocket())
    running = asyncio.create_task(made.own.run())
    yield made
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    made.executor.close()
    made.journal.close()


async def test_without_a_lease_of_the_node_it_is_on_and_stands_in_the_journal_for_main(bench: Bench) -> None:
    key = await bench.put("a name/with # and @")
    assert key == "toxiproxy:a%20name%2Fwith%20%23%20and%20%40/7/1"
    assert bench.proxy.faults == {f"{key}#0@web": ("latency", "web")}
    record = bench.journal.records()[key]
    assert (record.done, record.holder) == (False, f"{os.getpid()} {start_of(os.getpid())}")
    assert bench.own.standing() == {key}
    assert bench.own.uses_target("proxy:web")
    seen = await bench.executor.inventory()
    assert [(one.run, one.fault, one.target, one.mark, one.origin) for one in seen] == [
        (key, "latency", "proxy:web", "", "toxiproxy")
    ]
    await bench.own.take_off(key)
    await bench.own.take_off(key)
    assert (bench.proxy.faults, bench.own.standing()) == ({}, set())
    assert bench.journal.records()[key].done
    assert not bench.own.uses_target("proxy:web")


async def test_it_stays_as_long_as_main_looks_after_it(bench: Bench) -> None:
    key = await bench.put()
    for _ in range(10):
        bench.clock.now += 0.8 * limits.MAIN_LEASE
        bench.own.wake()
        await asyncio.sleep(0.01)
    assert bench.own.standing() == {key}
    assert len(bench.proxy.faults) == 1


async def test_a_main_that_stood_still_for_too_long_finds_it_over(bench: Bench) -> None:
    key = await bench.put()
    bench.clock.now += limits.MAIN_LEASE + 0.1
    assert bench.proxy.faults == {}, "the proxy process ends it by itself"
    with pytest.raises(RaftchaosError):
        await bench.put("another")
    await bench.until(lambda: bench.journal.records()[key].done)
    assert bench.own.standing() == set()
    assert await bench.put("another")


async def test_a_halt_takes_it_off_and_refuses_what_is_new(bench: Bench) -> None:
    key = await bench.put()
    bench.halted = True
    await bench.until(lambda: bench.journal.records()[key].done)
    assert bench.proxy.faults == {}
    with pytest.raises(Halted):
        await bench.put()
    bench.halted = False
    assert bench.proxy.faults == {}
    assert await bench.put() != key


async def test_what_is_taken_back_by_hand_is_not_on_any_more(bench: Bench) -> None:
    key = await bench.put()
    with bench.journal.lock(5):
        bench.journal.mark_done(key, (), "command")
    await bench.until(lambda: not bench.proxy.faults)
    assert bench.own.standing() == set()


async def test_another_takes_its_place_before_it_goes(bench: Bench) -> None:
    first = await bench.put()
    second = await bench.put(instead_of=first)
    assert bench.own.standing() == {second}
    assert list(bench.proxy.faults) == [f"{second}#0@web"]
    assert bench.proxy.injections == [f"{first}#0@web", f"{second}#0@web"]


async def test_what_cannot_be_put_on_leaves_nothing(bench: Bench) -> None:
    first = await bench.put()
    with pytest.raises(RaftchaosError):
        await bench.own.put("elsewhere", "nowhere", SLOW, instead_of=first)
    assert bench.own.standing() == {first}, "what it was to replace stays"
    assert [record.run for record in bench.journal.open_records()] == [first]


async def test_what_cannot_be_taken_back_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await bench.put()
    recover = bench.proxy.recover

    async def fail(run: str, *, replaced: bool = False) -> dict[str, int]:
        raise ProxyUnavailable("it does not answer")

    monkeypatch.setattr(bench.proxy, "recover", fail)
    await bench.own.take_off(key)
    assert bench.own.standing() == set()
    assert bench.own.uses_target("proxy:web")
    assert not bench.journal.records()[key].done
    monkeypatch.setattr(bench.proxy, "recover", recover)
    await bench.until(lambda: bench.journal.records()[key].done)
    assert bench.proxy.faults == {}


class Slow:
    """A proxy process that takes back at its leisure: once `let` is set."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.let = asyncio.Event()
        self._recover = bench.proxy.recover
        monkeypatch.setattr(bench.proxy, "recover", self.recover)

    async def recover(self, run: str, *, replaced: bool = False) -> dict[str, int]:
        self.asked.append(run)
        await self.let.wait()
        return await self._recover(run, replaced=replaced)


async def look(bench: Bench) -> None:
    """Let it look some times."""
    for _ in range(5):
        bench.own.wake()
        await asyncio.sleep(0.01)


async def test_what_is_being_taken_back_is_not_taken_back_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await bench.put()
    slow = Slow(bench, monkeypatch)
    ending = asyncio.create_task(bench.own.take_off(key))
    await look(bench)
    slow.let.set()
    await ending
    assert slow.asked == [f"{key}#0@web"]
    assert bench.journal.records()[key].done
    await look(bench)
    assert not bench.executor.uses(key)


async def test_a_recovery_that_takes_its_time_holds_up_no_renewal_and_no_halt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await bench.put(), await bench.put()
    slow = Slow(bench, monkeypatch)
    with bench.journal.lock(5):  # the first waits for the lock, as behind a reaper that undoes
        slow.let.set()
        ending = asyncio.create_task(bench.own.take_off(first))
        for _ in range(3):
            bench.clock.now += 0.8 * limits.MAIN_LEASE
            await look(bench)
        assert bench.own.standing() == {second}
        assert len(bench.proxy.faults) == 1
        bench.halted = True
        await look(bench)
        assert bench.proxy.faults == {}
        assert not bench.journal.records()[second].done
    await ending
    await bench.until(lambda: not bench.journal.open_records())


async def test_a_record_whose_disk_failed_is_taken_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(RaftchaosError, match="Input/output error"):
            await bench.put()
    assert bench.journal.open_records() == []
    assert not bench.own.uses_target("proxy:web")


async def test_a_label_is_cut_so_that_all_keys_fit_into_a_message(bench: Bench) -> None:
    assert len(await bench.put("\N{GRINNING FACE}" * limits.TOXIC_NAME)) < 600


async def test_what_a_new_proxy_does_not_get_is_over_with_all_that_would_follow(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [await bench.put(), await bench.put(), await bench.put()]
    await bench.proxy.remove_proxy("web")
    await bench.proxy.add_proxy("web", "127.0.0.1:3", "127.0.0.1:2", NoSocket())
    inject = bench.proxy.inject

    async def fail(run: str, *rest: Any) -> None:
        if run.startswith(keys[1]):
            raise ProxyUnavailable("it has just ended")
        await inject(run, *rest)

    monkeypatch.setattr(bench.proxy, "inject", fail)
    with pytest.raises(ProxyUnavailable):
        await bench.own.again("web")
    assert bench.own.standing() == {keys[0]}
    assert list(bench.proxy.faults) == [f"{keys[0]}#0@web"]


async def test_a_new_proxy_of_the_same_name_gets_it_again(bench: Bench) -> None:
    key = await bench.put()
    await bench.proxy.remove_proxy("web")
    assert bench.proxy.faults == {}
    await bench.proxy.add_proxy("web", "127.0.0.1:3", "127.0.0.1:2", NoSocket())
    await bench.own.again("web")
    assert list(bench.proxy.faults) == [f"{key}#0@web"]


async def test_a_new_proxy_gets_it_again_once_the_proxy_process_is_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await bench.put()
    await bench.proxy.remove_proxy("web")
    await bench.proxy.add_proxy("web", "127.0.0.1:3", "127.0.0.1:2", NoSocket())
    with monkeypatch.context() as patch:
        patch.setattr(InMemoryProxy, "ready", False)
        again = asyncio.create_task(bench.own.again("web"))
        await look(bench)
        assert not again.done()
    await again
    assert bench.own.standing() == {key}
    assert list(bench.proxy.faults) == [f"{key}#0@web"]


async def test_what_is_over_while_a_new_proxy_gets_it_does_not_stay_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await bench.put()
    await bench.proxy.remove_proxy("web")
    await bench.proxy.add_proxy("web", "127.0.0.1:3", "127.0.0.1:2", NoSocket())
    inject, let = bench.proxy.inject, asyncio.Event()

    async def slowly(*call: Any) -> None:
        await let.wait()
        await inject(*call)

    monkeypatch.setattr(bench.proxy, "inject", slowly)
    again = asyncio.create_task(bench.own.again("web"))
    await look(bench)
    with bench.journal.lock(5):
        bench.journal.mark_done(key, (), "command")
    await bench.until(lambda: not bench.own.uses_target("proxy:web"))
    let.set()
    await again
    assert bench.proxy.faults == {}


async def test_a_peer_that_ends_takes_everything_back_and_begins_nothing(bench: Bench) -> None:
    key = await bench.put()
    await bench.own.stop()
    assert bench.journal.records()[key].done
    with pytest.raises(Refused, match="about to end"):
        await bench.put()

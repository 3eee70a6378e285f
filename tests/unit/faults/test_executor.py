"""The executor: nothing is on before its undo record is on disk, and what is on is taken back whole."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from raftchaos import limits
from raftchaos.errors import Conflict, InjectionFailed, NotFound, ProxyUnavailable, RaftchaosError, Refused, UsageError
from raftchaos.faults import FAULT_MODULES, build_faults
from raftchaos.faults.base import CatalogueFault, Fault, Host
from raftchaos.faults.executor import FaultExecutor, fault_seed
from raftchaos.faults.twin import InMemoryProxy
from raftchaos.faults.undo import UndoJournal
from raftchaos.model.faults import FAULTS
from raftchaos.model.resolved import ResolvedFault, ResolvedStep

RUN = "t/1/0/a/1"
STEP = ResolvedStep(
    "slow",
    "mixed",
    (
        ResolvedFault("latency", {"latencyMs": 100.0}),
        ResolvedFault("http_error", {"proxy": ["web"], "statusCode": 503, "probability": 1.0}),
    ),
    30.0,
)
BOTH = ("proxy:api", "proxy:web")


class SteppedClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def boot(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class NoSocket:
    """The twin never looks at it."""

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        return


@dataclass
class Reaper:
    standing: bool = True
    lease_end: float = 1003.0


class FragileProxy(InMemoryProxy):
    """A proxy that fails for some keys, and looks at the undo journal whenever something is put on."""

    def __init__(self, clock: SteppedClock, journal: UndoJournal) -> None:
        super().__init__(clock)
        self.journal = journal
        self.fails_to_inject: set[str] = set()
        self.fails_to_recover: set[str] = set()
        self.hangs = False
        self.seen_open: list[bool] = []
        self.seen_locked: list[bool] = []

    async def inject(
        self, run: str, fault: str, proxy: str, parameters: Mapping[str, Any], seed: int, lease_end: float
    ) -> None:
        self.seen_open.append(RUN in [record.run for record in self.journal.open_records()])
        self.seen_locked.append(not self.journal.try_lock())
        assert "proxy" not in parameters
        if self.hangs:
            await asyncio.sleep(3600)
        if run in self.fails_to_inject:
            raise ProxyUnavailable("it is not there")
        await super().inject(run, fault, proxy, parameters, seed, lease_end)

    async def recover(self, run: str) -> dict[str, int]:
        if run in self.fails_to_recover:
            raise ProxyUnavailable("it does not answer")
        return await super().recover(run)


class Bench:
    """An executor with its world."""

    def __init__(self, data_dir: Path) -> None:
        self.clock = SteppedClock()
        self.reaper = Reaper()
        self.journal = UndoJournal(data_dir)
        self.proxy = FragileProxy(self.clock, self.journal)
        self.names = ["web", "api"]
        host = Host(proxy=self.proxy, data_dir=data_dir)
        self.faults = build_faults(host, ("http_error", "latency", "reset_peer"))
        self.executor = FaultExecutor(
            host,
            node="a",
            clock=self.clock,
            reaper=self.reaper,
            proxies=lambda: self.names,
            faults=self.faults,
        )

    def fault(self, name: str) -> Fault:
        return self.faults[name]

    async def start(self, permit: Callable[[], float] = lambda: 1003.0, step: ResolvedStep = STEP) -> None:
        for name in self.names:
            await self.proxy.add_proxy(name, "127.0.0.1:1", "127.0.0.1:2", NoSocket())
        await self.executor.start(RUN, step, await self.executor.resolve(step), 7, permit)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_run_is_on_whole_under_the_lock_after_its_record(bench: Bench) -> None:
    await bench.start()
    assert bench.proxy.faults == {
        RUN + "#0@api": ("latency", "api"),
        RUN + "#0@web": ("latency", "web"),
        RUN + "#1@web": ("http_error", "web"),
    }
    assert bench.proxy.seen_open == [True] * 3
    assert bench.proxy.seen_locked == [True] * 3
    record = bench.journal.records()[RUN]
    assert [(step["key"], step["fault"]) for step in record.plan] == [
        (RUN + "#0@api", 0),
        (RUN + "#0@web", 0),
        (RUN + "#1@web", 1),
    ]
    assert bench.executor.unfinished() == {RUN}
    assert bench.executor.uses(RUN) == (("latency", BOTH[0]), ("latency", BOTH[1]), ("http_error", BOTH[1]))
    assert bench.journal.try_lock()  # it is free again


async def test_a_recovery_tells_the_effect_of_each_fault_and_marks_the_record(bench: Bench) -> None:
    await bench.start()
    bench.proxy.touch(RUN + "#0@api", 2)
    bench.proxy.touch(RUN + "#0@web", 3)
    recovery = await bench.executor.recover(RUN)
    assert (recovery.ok, recovery.effects) == (True, ({"touched": 5}, {"touched": 0}))
    assert bench.proxy.faults == {}
    assert bench.executor.undone() == {RUN: recovery.effects}
    assert bench.journal.records()[RUN].by == "main"
    assert await bench.executor.recover(RUN) == recovery
    await bench.executor.forget(RUN)
    assert await bench.proxy.effects() == {}


async def test_one_fault_that_cannot_be_put_on_takes_the_others_off(bench: Bench) -> None:
    bench.proxy.fails_to_inject = {RUN + "#1@web"}
    with pytest.raises(InjectionFailed, match="http_error on proxy:web: it is not there"):
        await bench.start()
    assert bench.proxy.faults == {}
    assert bench.journal.records()[RUN].done
    assert (await bench.executor.recover(RUN)).ok


async def test_a_fault_that_cannot_be_taken_back_leaves_the_record_open_until_it_can(bench: Bench) -> None:
    await bench.start()
    bench.proxy.touch(RUN + "#0@api", 4)
    bench.proxy.fails_to_recover = {RUN + "#0@web"}
    recovery = await bench.executor.recover(RUN)
    assert not recovery.ok
    assert recovery.error == "latency on proxy:web: it does not answer"
    assert set(bench.proxy.faults) == {RUN + "#0@web"}
    assert bench.executor.unfinished() == {RUN}
    bench.proxy.fails_to_recover = set()
    recovery = await bench.executor.recover(RUN)
    assert recovery.ok
    assert recovery.effects[0]["touched"] == 4
    assert bench.executor.unfinished() == frozenset()


def refuse() -> float:
    raise Refused("no")


async def test_nothing_is_done_without_a_permit(bench: Bench) -> None:
    with pytest.raises(Refused):
        await bench.start(refuse)
    assert bench.proxy.injections == []
    assert bench.journal.records() == {}


async def test_a_permit_that_is_withdrawn_while_the_record_is_written_counts(bench: Bench) -> None:
    answers = iter([1003.0])

    def permit() -> float:
        for answer in answers:
            return answer
        raise Refused("the lease has ended")

    with pytest.raises(Refused):
        await bench.start(permit)
    assert bench.proxy.injections == []
    assert bench.journal.records()[RUN].done


async def test_an_epoch_that_was_raised_meanwhile_refuses(bench: Bench) -> None:
    bench.journal.try_lock()
    starting = asyncio.create_task(bench.executor.start(RUN, STEP, BOTH, 7, lambda: 1003.0))
    await asyncio.sleep(0)
    bench.journal.raise_epoch()
    bench.journal.unlock()
    with pytest.raises(Refused, match="the reaper has undone"):
        await starting
    assert bench.proxy.injections == []


@pytest.mark.parametrize("reaper", [Reaper(standing=False), Reaper(lease_end=999.0), Reaper(lease_end=0.0)])
async def test_nothing_is_injected_unless_a_reaper_stands_and_knows_the_lease(bench: Bench, reaper: Reaper) -> None:
    bench.reaper.standing, bench.reaper.lease_end = reaper.standing, reaper.lease_end
    assert not bench.executor.ready
    with pytest.raises(Refused, match="not ready"):
        await bench.start()
    assert bench.journal.records() == {}


async def test_a_run_is_started_once(bench: Bench) -> None:
    await bench.start()
    await bench.executor.recover(RUN)
    with pytest.raises(Conflict, match="once"):
        await bench.start()
    assert len(bench.proxy.injections) == 3


async def test_an_injection_that_hangs_ends_with_the_lease(bench: Bench) -> None:
    bench.proxy.hangs = True
    bench.clock.now = 1002.9
    with pytest.raises(InjectionFailed, match=r"within 0\.1 s"):
        await bench.start()
    assert bench.journal.records()[RUN].done


async def test_an_injection_that_hangs_is_given_up_when_it_may_not_go_on(bench: Bench) -> None:
    bench.proxy.hangs = True

    def permit() -> float:
        if bench.proxy.seen_open:
            raise Refused("halted")
        return 1003.0

    with pytest.raises(InjectionFailed, match="given up amid the injection: halted"):
        await bench.start(permit)
    assert bench.journal.records()[RUN].done
    assert bench.proxy.faults == {}


async def test_an_injection_that_is_cancelled_leaves_an_open_record_and_a_free_lock(bench: Bench) -> None:
    bench.proxy.hangs = True
    starting = asyncio.create_task(bench.start())
    while not bench.proxy.seen_open:  # noqa: ASYNC110 - the proxy of this test tells nobody
        await asyncio.sleep(0.001)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert bench.executor.unfinished() == {RUN}
    assert (await bench.executor.recover(RUN)).ok


async def test_what_an_earlier_start_left_keeps_it_unclean_until_it_is_undone(tmp_path: Path) -> None:
    journal = UndoJournal(tmp_path)
    with journal.lock(1):
        journal.record_open("old/1/0/a/1", "continuous", [])
    bench = Bench(tmp_path)
    assert not bench.executor.clean
    assert not bench.executor.ready
    assert not (await bench.executor.recover("old/1/0/a/1")).ok
    with journal.lock(1):
        journal.mark_done("old/1/0/a/1", ({"touched": 9},), "reaper")
    assert bench.executor.clean
    assert bench.executor.undone() == {"old/1/0/a/1": ({"touched": 9},)}
    assert (await bench.executor.recover("old/1/0/a/1")).effects == ({"touched": 9},)


async def test_what_the_reaper_undid_first_is_believed(bench: Bench) -> None:
    await bench.start()
    with bench.journal.lock(1):
        bench.journal.mark_done(RUN, ({"touched": 8}, {"touched": 1}), "reaper")
    recovery = await bench.executor.recover(RUN)
    assert recovery.ok
    assert [effect["touched"] for effect in recovery.effects] == [8, 1]
    assert bench.proxy.faults == {}


async def test_targets_are_the_named_proxies_or_all(bench: Bench) -> None:
    assert await bench.executor.resolve(STEP) == BOTH
    named = ResolvedStep("s", "latency", (ResolvedFault("latency", {"proxy": "web"}),), 1.0)
    assert await bench.executor.resolve(named) == ("proxy:web",)
    with pytest.raises(NotFound, match="no proxy db"):
        await bench.executor.resolve(ResolvedStep("s", "x", (ResolvedFault("latency", {"proxy": "db"}),), 1.0))
    with pytest.raises(UsageError, match="latencyMs"):
        await bench.executor.resolve(ResolvedStep("s", "x", (ResolvedFault("latency", {"latencyMs": "much"}),), 1.0))
    with pytest.raises(NotFound, match="cannot do the fault melt"):
        await bench.executor.resolve(ResolvedStep("s", "x", (ResolvedFault("melt", {}),), 1.0))


async def test_a_granted_target_that_is_gone_fails_the_start(bench: Bench) -> None:
    with pytest.raises(NotFound, match="proxy:gone"):
        await bench.executor.start(RUN, STEP, (*BOTH, "proxy:gone"), 7, lambda: 1003.0)
    assert bench.journal.records() == {}
    assert (await bench.executor.recover(RUN)).ok


@pytest.mark.parametrize(
    ("method", "expected"), [("resolve", Refused), ("undo_steps", InjectionFailed), ("inject", InjectionFailed)]
)
async def test_a_defect_of_a_fault_is_told_as_its_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, method: str, expected: type[RaftchaosError]
) -> None:
    monkeypatch.setattr(type(bench.fault("latency")), method, broken)
    with pytest.raises(expected, match="defect in the fault latency: KeyError: 'no such thing'"):
        await bench.start()
    assert (await bench.executor.recover(RUN)).ok
    assert bench.executor.unfinished() == frozenset()


def test_a_fault_that_cannot_say_whether_it_can_is_not_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CatalogueFault, "why_not", lambda fault: broken() if fault.type == "latency" else "")
        bench = Bench(tmp_path)
    assert bench.executor.types == ("http_error", "reset_peer")
    assert bench.executor.unable == {"latency": "defect in the fault latency: KeyError: 'no such thing'"}
    assert "defect in the fault latency" in caplog.text


def test_a_fault_that_cannot_be_made_is_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import raftchaos.faults.latency as module

    monkeypatch.setattr(module, "make", broken)
    clock = SteppedClock()
    host = Host(proxy=InMemoryProxy(clock), data_dir=tmp_path)
    executor = FaultExecutor(host, node="a", clock=clock, reaper=Reaper(), proxies=tuple)
    executor.close()
    assert executor.unable["latency"] == "defect in the fault latency: KeyError: 'no such thing'"
    assert "http_error" in executor.types


async def test_a_defect_of_a_recovery_leaves_the_record_open(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.start()
    with monkeypatch.context() as patch:
        for method in ("recover", "effects", "observe"):
            patch.setattr(type(bench.fault("latency")), method, broken)
        found = await bench.executor.recover(RUN)
        assert not found.ok
        assert "latency on proxy:web: defect in the fault latency" in found.error
        assert len(await bench.executor.inventory()) > 0
    assert bench.executor.unfinished() == {RUN}
    assert (await bench.executor.recover(RUN)).ok


def broken(*_: object) -> None:
    raise KeyError("no such thing")


async def test_look_ups_that_hang_hold_up_no_undo(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(type(bench.fault("latency")), "resolve", lambda *_: ("proxy:web",) if go_on.wait(10) else ())
    looks = [asyncio.create_task(bench.executor.resolve(STEP)) for _ in range(40)]
    try:
        async with asyncio.timeout(5):
            await asyncio.to_thread(bench.journal.records)
    finally:
        go_on.set()
    assert await asyncio.gather(*looks) == [("proxy:web",)] * 40
    bench.executor.close()


async def test_what_the_proxy_process_bears_no_more_has_gone_off(bench: Bench) -> None:
    await bench.start()
    fault = bench.fault("latency")
    assert await fault.lost() == {}
    await bench.proxy.recover(RUN + "#0@api")
    assert list(await fault.lost()) == [(RUN + "#0", "proxy:api")]
    await bench.executor.recover(RUN)
    assert await fault.lost() == {}


def test_every_fault_of_the_catalogue_can_be_done_and_reverts_in_time(bench: Bench) -> None:
    assert set(FAULT_MODULES) == set(FAULTS)
    assert set(bench.executor.types) <= set(FAULTS)
    for fault in FAULTS.values():
        assert fault.recovery_seconds + limits.LATENESS <= limits.REVERT


def test_seeds_are_the_same_everywhere_and_differ_between_faults() -> None:
    assert fault_seed(7, "slow", 0) == fault_seed(7, "slow", 0)
    assert len({fault_seed(seed, name, index) for seed in (1, 2) for name in "ab" for index in (0, 1)}) == 8

"""Pulses and one-shot faults: one run, one record however often it is switched; what cannot be undone is done once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from raftchaos import limits
from raftchaos.clock import SystemClock
from raftchaos.errors import InjectionFailed, Refused
from raftchaos.faults.base import Host, Lost, NodeContext
from raftchaos.faults.executor import FaultExecutor
from raftchaos.faults.records import Step
from raftchaos.faults.rhythm import beats, without_rhythm
from raftchaos.faults.twin import InMemoryProxy
from raftchaos.faults.undo import UndoJournal
from raftchaos.faults.undo_plan import Undoer
from raftchaos.model.resolved import ResolvedFault, ResolvedStep

RUN = "t/1/0/a/1"
CLOCK = SystemClock()
SOON = 5.0
"""Seconds that a busy machine may take."""


class Recording:
    """A fault that only remembers what it was asked."""

    recovery_seconds = 0.5
    pulses_itself = False
    holds_deadline = True

    def __init__(self, kind: str) -> None:
        self.type = self.kind = kind
        self.calls: list[str] = []
        self.locked: list[bool] = []
        self.renewed: list[float] = []
        self.changed = asyncio.Event()
        self.fails = False
        self.gone: dict[tuple[str, str], str] = {}
        self.observed: list[tuple[str, str]] | None = None
        self.journal: UndoJournal | None = None

    def why_not(self) -> str:
        return ""

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        return ("thing:one",)

    def undo_steps(self, key: str, target: str) -> list[Step]:
        return []

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        assert not {"pulse", "every"} & parameters.keys()
        assert self.journal is not None
        self.locked.append(not self.journal.try_lock())
        self._call("inject")
        if self.fails:
            raise InjectionFailed("it broke")

    async def recover(self, key: str, target: str) -> dict[str, int]:
        self._call("recover")
        return {"touched": 2}

    async def forget(self, key: str, target: str) -> None:
        return

    async def renew(self, lease_end: float) -> None:
        self.renewed.append(lease_end)
        self.changed.set()

    async def lost(self) -> Lost:
        return self.gone

    async def effects(self, key: str, target: str) -> dict[str, int]:
        return {"touched": 1}

    async def observe(self) -> list[tuple[str, str]] | None:
        return self.observed

    async def called(self, count: int) -> None:
        async with asyncio.timeout(SOON):
            while len(self.calls) < count:
                self.changed.clear()
                await self.changed.wait()

    def _call(self, what: str) -> None:
        self.calls.append(what)
        self.changed.set()


class Reaper:
    standing = True
    lease_end = float("inf")


class Bench:
    def __init__(self, folder: Path) -> None:
        self.faults = {kind: Recording(kind) for kind in ("continuous", "oneShot")}
        self.journal = UndoJournal(folder)
        for fault in self.faults.values():
            fault.journal = self.journal
        self.reaper = Reaper()
        self.executor = FaultExecutor(
            Host(proxy=InMemoryProxy(CLOCK), data_dir=folder),
            node="a",
            clock=CLOCK,
            reaper=self.reaper,
            proxies=tuple,
            faults=self.faults,
        )
        self.permitted = True
        self.troubled = asyncio.Event()
        self.executor.on_trouble = self.troubled.set

    def permit(self) -> float:
        if not self.permitted:
            raise Refused("halted")
        return CLOCK.boot() + 100

    async def start(self, kind: str, **parameters: Any) -> Recording:
        step = ResolvedStep("s", kind, (ResolvedFault(kind, parameters, kind == "oneShot"),), 60.0)
        await self.executor.start(RUN, step, await self.executor.resolve(step), 7, self.permit)
        return self.faults[kind]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    found = Bench(tmp_path)
    running = asyncio.create_task(found.executor.run())
    await asyncio.sleep(0)
    yield found
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    found.executor.close()


def pulse(active: float, dormant: float, delay: float = 0.0) -> dict[str, float]:
    return {"activeSeconds": active, "dormantSeconds": dormant, "initialDelaySeconds": delay}


def test_the_beats_of_the_same_seed_are_the_same() -> None:
    every = {"every": {"meanSeconds": 10.0}}
    first, again, other = (list(itertools.islice(beats(every, seed) or (), 500)) for seed in (3, 3, 4))
    assert first == again != other
    assert first[0] == (0.0, 0.0)
    assert 8 < sum(beat.wait for beat in first) / 499 < 12
    assert list(itertools.islice(beats({"pulse": pulse(1, 2, 3)}, 1) or (), 3)) == [(3, 1), (2, 1), (2, 1)]
    assert beats({"latencyMs": 1.0}, 1) is None
    assert without_rhythm({"a": 1, "pulse": {}, "every": {}}) == {"a": 1}


async def test_a_pulse_comes_and_goes_under_one_record(bench: Bench) -> None:
    fault = await bench.start("continuous", pulse=pulse(0.1, 0.1))
    assert fault.calls == ["inject"]
    await fault.called(5)
    assert fault.calls == ["inject", "recover", "inject", "recover", "inject"]
    assert fault.locked == [True] * 3
    assert list(bench.journal.records()) == [RUN]
    assert bench.executor.unfinished() == {RUN}
    recovery = await bench.executor.recover(RUN)
    assert recovery.ok
    assert recovery.effects == ({"touched": 6},)
    calls = list(fault.calls)
    await asyncio.sleep(0.3)
    assert fault.calls == calls


async def test_a_pulse_that_is_off_is_not_taken_back_again(bench: Bench) -> None:
    fault = await bench.start("continuous", pulse=pulse(0.1, 60.0, 0.1))
    assert fault.calls == []
    await fault.called(2)
    assert (await bench.executor.recover(RUN)).effects == ({"touched": 2},)
    assert fault.calls == ["inject", "recover"]


async def test_a_beat_that_is_not_permitted_is_left_out(bench: Bench) -> None:
    fault = await bench.start("continuous", pulse=pulse(0.1, 0.1))
    await fault.called(2)
    bench.permitted = False
    calls = len(fault.calls)
    await asyncio.sleep(0.5)
    assert len(fault.calls) <= calls + 1
    bench.permitted = True
    await fault.called(calls + 2)


async def test_a_run_that_the_reaper_has_undone_does_not_come_on_again(bench: Bench) -> None:
    fault = await bench.start("continuous", pulse=pulse(0.1, 0.1))
    await fault.called(2)
    with bench.journal.lock(SOON):
        bench.journal.mark_done(RUN, ({"touched": 1},), "reaper")
    calls = len(fault.calls)
    await asyncio.sleep(0.4)
    assert len(fault.calls) <= calls + 1


async def test_a_pulse_that_cannot_come_on_again_is_told(bench: Bench) -> None:
    fault = await bench.start("continuous", pulse=pulse(0.1, 0.1))
    fault.fails = True
    async with asyncio.timeout(SOON):
        await bench.troubled.wait()
    assert "it broke" in bench.executor.troubles()[RUN]
    assert (await bench.executor.recover(RUN)).ok
    assert fault.calls[-1] == "recover"
    await bench.executor.forget(RUN)
    assert not bench.executor.troubles()


async def test_a_fault_that_went_off_amid_its_run_is_told_and_not_put_on_again(bench: Bench) -> None:
    fault = await bench.start("continuous")
    fault.gone = {(f"{RUN}#0", "thing:one"): "somebody killed it"}
    async with asyncio.timeout(SOON):
        await bench.troubled.wait()
    expected = "continuous on thing:one went off amid its run: somebody killed it"
    assert bench.executor.troubles() == {RUN: expected}
    assert (await bench.executor.recover(RUN)).ok
    assert fault.calls == ["inject", "recover"]


async def test_a_pulse_that_is_off_has_not_gone_off_by_itself(bench: Bench) -> None:
    fault = await bench.start("continuous", pulse=pulse(0.1, 60.0))
    await fault.called(2)
    fault.gone = {(f"{RUN}#0", "thing:one"): "it is not there"}
    await asyncio.sleep(2 * limits.LOST_LOOK)
    assert not bench.executor.troubles()


async def test_what_holds_a_deadline_is_told_of_a_later_one(bench: Bench) -> None:
    fault = await bench.start("continuous")
    bench.reaper.lease_end = CLOCK.boot() + 50
    bench.executor.on_renewed(bench.reaper.lease_end, 1)
    async with asyncio.timeout(SOON):
        while not fault.renewed:
            fault.changed.clear()
            await fault.changed.wait()
    assert fault.renewed == [bench.reaper.lease_end]


async def test_a_one_shot_fault_is_done_once_and_known_as_done(bench: Bench) -> None:
    fault = await bench.start("oneShot")
    assert bench.journal.records()[RUN].kind == "oneShot"
    assert (await bench.executor.recover(RUN)).effects == ({"touched": 2},)
    assert (await bench.executor.recover(RUN)).effects == ({"touched": 2},)
    assert fault.calls == ["inject", "recover"]
    assert bench.executor.happened() == {RUN: True}


async def test_a_one_shot_fault_whose_end_was_not_written_down_may_have_happened(bench: Bench) -> None:
    fault = await bench.start("oneShot")
    with bench.journal.lock(SOON):
        assert Undoer(bench.journal, "reaper").undo_open() == {}
    assert bench.executor.happened() == {RUN: False}
    assert fault.calls == ["inject"]


async def test_a_one_shot_fault_that_was_given_up_before_the_act_did_not_happen(bench: Bench) -> None:
    answers = iter([bench.permit])
    step = ResolvedStep("s", "oneShot", (ResolvedFault("oneShot", {}, True),), 60.0)
    with pytest.raises(Refused):
        await bench.executor.start(RUN, step, ("thing:one",), 7, lambda: next(answers, refuse)())
    assert bench.executor.happened() == {}
    assert bench.faults["oneShot"].calls == []


def refuse() -> float:
    raise Refused("halted")


async def test_a_one_shot_fault_may_repeat(bench: Bench) -> None:
    fault = await bench.start("oneShot", every={"seconds": 0.1})
    await fault.called(6)
    effects = (await bench.executor.recover(RUN)).effects
    assert effects == ({"touched": 2 * fault.calls.count("inject")},)
    assert fault.calls.count("inject") == fault.calls.count("recover") >= 3

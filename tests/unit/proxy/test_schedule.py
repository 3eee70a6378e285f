"""A pulse at a proxy: on and off at its own instants, whatever the timers do."""

from __future__ import annotations

import asyncio
import time

import pytest

from raftchaos.errors import FaultRefused
from raftchaos.proxy.dataplane import DataPlane
from raftchaos.proxy.faults import FAULTS
from raftchaos.proxy.listeners import open_listener
from raftchaos.proxy.schedule import Schedule, read_schedule
from raftchaos.proxy.specs import FaultSpec, ProxySpec
from raftchaos.proxy.table import FaultTable

PULSE = {"activeSeconds": 2.0, "dormantSeconds": 3.0, "initialDelaySeconds": 1.0}


@pytest.mark.parametrize(
    ("now", "on", "then"),
    [(100, False, 101), (101, True, 103), (102.5, True, 103), (103, False, 106), (105.9, False, 106), (106, True, 108)],
)
def test_it_comes_and_goes(now: float, on: bool, then: float) -> None:
    schedule = Schedule(101.0, 2.0, 3.0)
    assert schedule.on(now) is on
    assert schedule.next_switch(now) == pytest.approx(then)


def test_the_next_switch_is_always_later() -> None:
    schedule = Schedule(0.1, 0.1, 0.2)
    now = 0.0
    for _ in range(10_000):
        later = schedule.next_switch(now)
        assert later > now
        now = later


def test_the_parameter_is_checked() -> None:
    assert read_schedule({}, 5.0) is None
    assert read_schedule({"pulse": PULSE}, 5.0) == Schedule(6.0, 2.0, 3.0)
    for pulse in (7, {**PULSE, "activeSeconds": 0.01}, {"activeSeconds": 1.0}):
        with pytest.raises(ValueError):
            read_schedule({"pulse": pulse}, 5.0)


def test_a_fault_that_is_off_stays_in_the_table() -> None:
    table = FaultTable(FAULTS, lambda proxy: None)
    spec = FaultSpec("r", "latency", "web", {"latencyMs": 5.0, "pulse": PULSE}, 1, 1000.0)
    table.inject(spec, ["web"], 100.0)
    assert table.faults("web", 100.0) == []
    assert table.switches(100.0) == {"web": 101.0}
    (fault,) = table.faults("web", 101.5)
    assert table.faults("web", 104.0) == []
    assert table.faults("web", 106.5) == [fault]
    assert table.runs() == ["r"]
    table.recover("r")
    assert table.switches(107.0) == {}
    with pytest.raises(FaultRefused, match="pulse"):
        table.inject(FaultSpec("s", "latency", "web", {"latencyMs": 5.0, "pulse": 1}, 1, 1000.0), ["web"], 100.0)


def test_a_process_that_was_started_amid_a_pulse_goes_on_with_it() -> None:
    table = FaultTable(FAULTS, lambda proxy: None)
    spec = FaultSpec("r", "latency", "web", {"latencyMs": 5.0, "pulse": PULSE}, 1, 1000.0, began=100.0)
    assert FaultSpec.read(spec.fields()) == spec
    table.replace([spec], ["web"], 104.0)
    assert table.faults("web", 104.0) == []
    assert table.switches(104.0) == {"web": 106.0}


class LeapingClock:
    """Goes on by a fixed amount whenever somebody looks at it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.leap = 0.0

    def boot(self) -> float:
        self.now += self.leap
        return self.now

    def wall(self) -> float:
        return time.time()


async def test_a_switch_between_two_looks_at_the_clock_is_not_passed_over() -> None:
    clock = LeapingClock()
    plane = DataPlane(clock)
    listener = open_listener("127.0.0.1:0")
    await plane.add_proxy(ProxySpec("web", "127.0.0.1:0", "127.0.0.1:9"), listener)
    pulse = {"activeSeconds": 2.0, "dormantSeconds": 3.0, "initialDelaySeconds": 0.0}
    plane.table.inject(FaultSpec("r", "latency", "web", {"latencyMs": 5.0, "pulse": pulse}, 1, 1000.0), ["web"], 100.0)
    clock.now, clock.leap = 101.985, 0.01  # it is looked at before the switch at 102 and, the next time, after it
    plane._faults_changed("web")
    assert plane.proxies["web"].faults
    assert plane._pulse_timers["web"].when() - asyncio.get_running_loop().time() < 0.5
    await plane.stop()

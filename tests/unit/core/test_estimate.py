"""How far a task is, for progress bars: grows with time and with runs, and ends at 1."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raftchaos.core.estimate import current_step, share_behind
from raftchaos.model.resolved import (
    CoordinationMode,
    ResolvedFault,
    ResolvedOrchestration,
    ResolvedStep,
    SafetyLimits,
    TargetRule,
)
from raftchaos.model.runs import Run, RunId, RunStatus
from raftchaos.model.tasks import Task, TaskStatus

NODES = ("a", "b")


def task(mode: CoordinationMode = CoordinationMode.PARALLEL, seconds: tuple[float, ...] = (10.0, 30.0)) -> Task:
    steps = tuple(
        ResolvedStep(f"step {number}", "latency", (ResolvedFault("latency", {}),), duration)
        for number, duration in enumerate(seconds)
    )
    orchestration = ResolvedOrchestration("t", mode, TargetRule(), steps, SafetyLimits(), 3600.0, 1)
    return Task("t", orchestration, NODES, 2, 0, 3_600_000, status=TaskStatus.RUNNING)


def run(step: int, node: str, status: RunStatus, *, attempt: int = 1, active_ms: int = 0, seconds: float = 10.0) -> Run:
    ended = 1000 + int(seconds * 1000) if status is RunStatus.SUCCEEDED else 0
    key = RunId("t", 1, step, node, attempt)
    return Run(key, status, node, active_ms=active_ms, ended_ms=ended, duration_seconds=seconds)


def test_nothing_planned_is_nothing_behind() -> None:
    assert share_behind(task(), [], 0) == 0.0
    assert current_step(replace(task(), status=TaskStatus.PENDING), []) == 0


def test_longer_steps_weigh_more() -> None:
    runs = [run(0, node, RunStatus.SUCCEEDED) for node in NODES]
    assert share_behind(task(), runs, 0) == pytest.approx(0.25)
    runs += [run(1, node, RunStatus.ACTIVE, active_ms=1000, seconds=30.0) for node in NODES]
    assert share_behind(task(), runs, 16_000) == pytest.approx(0.25 + 0.75 / 2)
    assert share_behind(task(), runs, 10**9) == 1.0
    assert current_step(task(), runs) == 2


def test_a_new_attempt_goes_on_where_a_pause_cut() -> None:
    paused = replace(run(0, "a", RunStatus.INTERRUPTED, active_ms=1000), reason="paused", ended_ms=5000)
    again = run(0, "a", RunStatus.ACTIVE, attempt=2, active_ms=20_000, seconds=6.0)
    only_one = replace(task(seconds=(10.0,)), targets=("a",))
    assert share_behind(only_one, [paused], 60_000) == pytest.approx(0.4)
    assert share_behind(only_one, [paused, again], 23_000) == pytest.approx(0.7)


@pytest.mark.parametrize("mode", list(CoordinationMode))
def test_every_mode_ends_at_1(mode: CoordinationMode) -> None:
    whole = task(mode)
    nodes = NODES if mode in (CoordinationMode.PARALLEL, CoordinationMode.SEQUENTIAL) else NODES[:1]
    runs = [run(step, node, RunStatus.SUCCEEDED) for step in (0, 1) for node in nodes]
    assert share_behind(whole, runs, 0) == 1.0


def test_no_targets_is_no_work() -> None:
    assert share_behind(replace(task(), targets=()), [], 0) == 1.0

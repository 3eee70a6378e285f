"""How much of a task is behind it: an estimate for progress bars and metrics, never a ground for a decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raftchaos.core.progress import Progress, SlotState, slots
from raftchaos.model.runs import Run, RunStatus
from raftchaos.model.tasks import Task, TaskStatus

UNSETTLED = frozenset({SlotState.EMPTY, SlotState.OPEN, SlotState.AGAIN})


def share_behind(task: Task, runs: Iterable[Run], now_ms: int) -> float:
    """The share of the task that is behind it, from 0 to 1; longer steps weigh more.

    `runs` are the runs of this task, `now_ms` is the wall clock in milliseconds.
    """
    progress = Progress(task, runs)
    places = slots(task)
    weights = [max(step.duration_seconds + step.delay_before_seconds, 0.001) for step in task.orchestration.steps]
    if not places or not weights:
        return 1.0
    behind = 0.0
    for index, weight in enumerate(weights):
        shares = [_share(progress.state(index, slot), progress.attempts(index, slot), now_ms) for slot in places]
        behind += weight * sum(shares) / len(shares)
    return min(behind / sum(weights), 1.0)


def current_step(task: Task, runs: Iterable[Run]) -> int:
    """The number of the step that the task is at, counted from 1; 0 before the first run is planned."""
    if task.status in (TaskStatus.PENDING, TaskStatus.AWAITING_APPROVAL):
        return 0
    known = list(runs)
    moving = [run.id.step for run in known if not run.ended]
    return max(moving or [run.id.step for run in known], default=-1) + 1


def _share(state: SlotState, attempts: Sequence[Run], now_ms: int) -> float:
    """The share of a slot that is behind it; a new attempt begins where a pause ended, or anew."""
    if state not in UNSETTLED:
        return 1.0
    if state is SlotState.EMPTY:
        return 0.0
    last = attempts[-1]
    first = max(attempts[0].duration_seconds, 0.001)
    before = max(first - last.duration_seconds, 0.0)
    if last.status is RunStatus.RECOVERING:
        return 1.0
    active = max((last.ended_ms or now_ms) - last.active_ms, 0) / 1000 if last.active_ms else 0.0
    return min((before + min(active, last.duration_seconds)) / first, 1.0)

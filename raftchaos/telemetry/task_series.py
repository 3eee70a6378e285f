"""The series of tasks: bounded in number whatever the state holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from raftchaos import limits
from raftchaos.core.estimate import current_step, share_behind
from raftchaos.core.history import load
from raftchaos.core.state import ClusterState
from raftchaos.model.runs import Run
from raftchaos.model.tasks import Task, TaskStatus
from raftchaos.telemetry.catalogue import MODES, OTHER, RESULTS, TASK_STATUSES

Sample = tuple[Sequence[str], float]

MOVING = frozenset({TaskStatus.RUNNING, TaskStatus.PAUSED, TaskStatus.RECOVERING})


class TaskSeries:
    """Makes the samples of all families that are about tasks; remembers what it has decoded."""

    def __init__(self) -> None:
        self._ended: dict[str, tuple[bytes, str]] = {}  # status of an ended task, with the bytes it was read from

    def samples(self, state: ClusterState, now_ms: int) -> dict[str, list[Sample]]:
        """The samples of each family by its name."""
        ended = self._statuses(state)
        moving = _moving(state)
        runs = _runs_of(state, moving)
        return {
            "raftchaos_tasks": _by_status(state, ended),
            "raftchaos_task_status": _statuses(moving, ended),
            "raftchaos_task_completed_total": _completed(state),
            "raftchaos_orchestration_progress": [
                ((task.id,), share_behind(task, runs[task.id], now_ms)) for task in moving
            ],
            "raftchaos_orchestration_step": [((task.id,), float(current_step(task, runs[task.id]))) for task in moving],
        }

    def _statuses(self, state: ClusterState) -> dict[str, str]:
        """The status of every ended task, oldest first; each is decoded once."""
        before, self._ended = self._ended, {}
        for task, data in state.finished.items():
            known = before.get(task)
            if known is None or known[0] is not data:
                known = (data, str(load(data)["status"]))
            self._ended[task] = known
        return {task: status for task, (_, status) in self._ended.items()}


def _moving(state: ClusterState) -> list[Task]:
    """The newest tasks that run, pause or recover."""
    found = [task for task in state.tasks.values() if task.status in MOVING]
    return sorted(found, key=lambda task: (task.submitted_ms, task.id))[-limits.TASK_SERIES :]


def _runs_of(state: ClusterState, tasks: list[Task]) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {task.id: [] for task in tasks}
    for run in state.runs.values():
        if run.id.task in runs:
            runs[run.id.task].append(run)
    return runs


def _by_status(state: ClusterState, ended: dict[str, str]) -> list[Sample]:
    counts = dict.fromkeys(TASK_STATUSES, 0)
    for status in (*(str(task.status) for task in state.tasks.values()), *ended.values()):
        counts[status] += 1
    return [((status,), float(count)) for status, count in counts.items()]


def _statuses(moving: list[Task], ended: dict[str, str]) -> list[Sample]:
    newest = islice(reversed(ended.items()), limits.TASK_SERIES)
    shown = {**{task.id: str(task.status) for task in moving}, **dict(newest)}
    return [((task, status), float(status == now)) for task, now in shown.items() for status in TASK_STATUSES]


def _completed(state: ClusterState) -> list[Sample]:
    counts = {(result, mode): 0 for result in RESULTS for mode in MODES}
    for key, count in state.completed.items():
        result, _, mode = key.partition("/")
        known = (result if result in RESULTS else OTHER, mode)
        counts[known] = counts.get(known, 0) + count
    return [((result, mode), float(count)) for (result, mode), count in counts.items()]

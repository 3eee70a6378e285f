"""The life cycles of runs and tasks as data: every move that `apply` may make stands in these tables.

The diagrams in the documentation are printed from them. A cause is the kind of the command that moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from raftchaos.core import commands
from raftchaos.model.runs import LIVE, RunStatus
from raftchaos.model.tasks import TaskStatus

SUBMIT = commands.SubmitTask.kind
PLAN = commands.PlanRuns.kind
SKIP = commands.SkipRun.kind
START = commands.StartRun.kind
ACTIVE = commands.RunActive.kind
FINISHED = commands.RunFinished.kind
CANCEL = commands.CancelTask.kind
PAUSE = commands.PauseTask.kind
RESUME = commands.ResumeTask.kind
WIND_DOWN = commands.WindDownTask.kind
FINISH = commands.FinishTask.kind
HALT = commands.Halt.kind
NODE_FAILED = commands.NodeFailed.kind
REGISTER = commands.RegisterNode.kind
REMOVE = commands.RemoveNode.kind

STOPPING = (CANCEL, PAUSE, WIND_DOWN, HALT)
"""Commands that end a task, or interrupt it: its planned runs are skipped, its live ones recover."""


class RunMove(NamedTuple):
    """A run may go from one status to another because of a command. `before` is None where it comes to be."""

    before: RunStatus | None
    cause: str
    after: RunStatus


class TaskMove(NamedTuple):
    """A task may go from one status to another because of a command. `before` is None where it comes to be."""

    before: TaskStatus | None
    cause: str
    after: TaskStatus


REPORTED = (
    RunStatus.SUCCEEDED,
    RunStatus.DONE,
    RunStatus.FAILED,
    RunStatus.INTERRUPTED,
    RunStatus.RECOVERY_FAILED,
)
"""What a node may report about a run of its own when it is over."""

_LIVE = tuple(status for status in RunStatus if status in LIVE)

RUN_MOVES: tuple[RunMove, ...] = (
    RunMove(None, PLAN, RunStatus.PLANNED),
    RunMove(RunStatus.PLANNED, START, RunStatus.GRANTED),
    RunMove(RunStatus.GRANTED, ACTIVE, RunStatus.ACTIVE),
    *(RunMove(RunStatus.PLANNED, cause, RunStatus.SKIPPED) for cause in (SKIP, *STOPPING, NODE_FAILED, REMOVE)),
    *(
        RunMove(before, cause, RunStatus.RECOVERING)
        for before in (RunStatus.GRANTED, RunStatus.ACTIVE)
        for cause in STOPPING
    ),
    *(RunMove(before, FINISHED, after) for before in _LIVE for after in REPORTED),
    *(RunMove(before, cause, RunStatus.INTERRUPTED) for before in _LIVE for cause in (NODE_FAILED, REGISTER)),
)

TASK_MOVES: tuple[TaskMove, ...] = (
    TaskMove(None, SUBMIT, TaskStatus.PENDING),
    TaskMove(TaskStatus.PENDING, SUBMIT, TaskStatus.COMPLETED),
    TaskMove(TaskStatus.PENDING, PLAN, TaskStatus.RUNNING),
    TaskMove(TaskStatus.PENDING, PAUSE, TaskStatus.PAUSED),
    TaskMove(TaskStatus.RUNNING, PAUSE, TaskStatus.PAUSED),
    TaskMove(TaskStatus.PAUSED, RESUME, TaskStatus.PENDING),
    TaskMove(TaskStatus.PAUSED, RESUME, TaskStatus.RUNNING),
    *(
        TaskMove(before, cause, TaskStatus.RECOVERING)
        for before in (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.PAUSED)
        for cause in (CANCEL, WIND_DOWN, HALT)
    ),
    *(
        TaskMove(TaskStatus.RUNNING, FINISH, after)
        for after in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.RECOVERY_FAILED)
    ),
    *(
        TaskMove(TaskStatus.RECOVERING, FINISH, after)
        for after in (
            TaskStatus.FAILED,
            TaskStatus.ABORTED,
            TaskStatus.CANCELLED,
            TaskStatus.HALTED,
            TaskStatus.RECOVERY_FAILED,
        )
    ),
)

_RUN_MOVES = frozenset(RUN_MOVES)
_TASK_MOVES = frozenset(TASK_MOVES)


class IllegalMove(Exception):
    """A move that stands in no table: a defect of `apply`, which checks before it moves."""


def run_may(before: RunStatus | None, cause: str, after: RunStatus) -> bool:
    """Whether a run may make this move."""
    return RunMove(before, cause, after) in _RUN_MOVES


def task_may(before: TaskStatus | None, cause: str, after: TaskStatus) -> bool:
    """Whether a task may make this move."""
    return TaskMove(before, cause, after) in _TASK_MOVES


def check_run(before: RunStatus | None, cause: str, after: RunStatus) -> None:
    """Raises `IllegalMove` if a run may not make this move."""
    if not run_may(before, cause, after):
        raise IllegalMove(f"a run cannot go from {before} to {after} because of {cause}")


def check_task(before: TaskStatus | None, cause: str, after: TaskStatus) -> None:
    """Raises `IllegalMove` if a task may not make this move."""
    if not task_may(before, cause, after):
        raise IllegalMove(f"a task cannot go from {before} to {after} because of {cause}")


def run_diagram() -> str:
    """The life cycle of a run as a mermaid state diagram."""
    return _diagram((str(move.before or "[*]"), move.cause, str(move.after)) for move in RUN_MOVES)


def task_diagram() -> str:
    """The life cycle of a task as a mermaid state diagram."""
    return _diagram((str(move.before or "[*]"), move.cause, str(move.after)) for move in TASK_MOVES)


def _diagram(moves: Iterable[tuple[str, str, str]]) -> str:
    """One arrow for each pair of statuses, its causes in the order of the table; ends where no arrow leaves."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for before, cause, after in moves:
        arrows.setdefault((before, after), []).append(cause)
    leaving = {before for before, _ in arrows}
    ends = dict.fromkeys(after for _, after in arrows if after not in leaving)
    lines = [f"    {before} --> {after}: {', '.join(causes)}" for (before, after), causes in arrows.items()]
    lines += [f"    {end} --> [*]" for end in ends]
    return "\n".join(["stateDiagram-v2", *lines]) + "\n"

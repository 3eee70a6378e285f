"""`plan`: what the leader does next for every task.

A pure function of the state and the leader's clock, so that a new leader goes on where the old one stopped. It may be
called as often as one likes: what it asks for is refused by `apply` when it has been done already. It reads in sorted
order only; equal states give equal plans.
"""

from __future__ import annotations

from raftchaos import limits
from raftchaos.core import reasons, timing
from raftchaos.core.commands import Command, FinishTask, SkipRun, WindDownTask
from raftchaos.core.counting import counted
from raftchaos.core.plan_modes import Round, next_commands, unable
from raftchaos.core.progress import Progress
from raftchaos.core.state import ClusterState
from raftchaos.core.verdict import not_recovered
from raftchaos.model.resolved import CoordinationMode
from raftchaos.model.runs import ANY_NODE, Run, RunStatus
from raftchaos.model.tasks import Task, TaskStatus


def plan(state: ClusterState, now_ms: int) -> list[Command]:
    """The commands that are due, in the order in which they are to be proposed, with the term of the state.

    `now_ms` is the leader's wall clock. A run that cannot take place is planned and skipped in the same plan.
    """
    runs_of: dict[str, list[Run]] = {}
    for run in state.runs.values():
        runs_of.setdefault(run.id.task, []).append(run)
    round_ = Round(state, now_ms, load_of(state))
    found: list[Command] = []
    for key in sorted(state.tasks):
        found += _plan_task(round_, Progress(state.tasks[key], runs_of.get(key, [])))
    return found


def _plan_task(round_: Round, progress: Progress) -> list[Command]:
    task, term = progress.task, round_.state.term
    if task.status is TaskStatus.RECOVERING:
        return [FinishTask(term, task.id)] if progress.all_ended else []
    if round_.now_ms >= task.deadline_ms:
        return [_wind_down(round_, task, TaskStatus.FAILED, _deadline_text(progress))]
    if task.status is TaskStatus.PAUSED:
        return []
    if _halt_follows(round_, progress):
        return []
    unrecovered = [run for run in progress.runs if run.status is RunStatus.RECOVERY_FAILED]
    if unrecovered:
        reason = f"{reasons.STEP_FAILED}: {not_recovered(unrecovered[0])}"
        return [_wind_down(round_, task, TaskStatus.RECOVERY_FAILED, reason)]
    return _skips(round_, progress) + next_commands(round_, progress)


def _halt_follows(round_: Round, progress: Progress) -> bool:
    """Whether a node has ended a run because it was told to halt, and the halt itself is still on its way to the log.

    A node obeys a halt before the log has it, so its report may come first. The halt then ends the task as halted.
    """
    since = round_.now_ms - int(limits.HALT_FOLLOWS * 1000)
    return any(
        run.status is RunStatus.INTERRUPTED and run.reason == reasons.HALTED and run.ended_ms > since
        for run in progress.runs
    )


def _skips(round_: Round, progress: Progress) -> list[Command]:
    """The planned runs that will not take place: nobody asked for them in time, or their node cannot."""
    found: list[Command] = []
    assigned = progress.task.orchestration.mode is CoordinationMode.LEADER_ASSIGNED
    for run in progress.runs:
        if run.status is not RunStatus.PLANNED:
            continue
        why = "" if assigned or run.node == ANY_NODE else unable(round_.state.nodes, run.node)
        if not why and timing.nobody_asks(round_.state, round_.now_ms, run):
            why = reasons.NOBODY_ASKED
        if why:
            found.append(SkipRun(round_.state.term, str(run.id), why))
    return found


def _wind_down(round_: Round, task: Task, final: TaskStatus, reason: str) -> WindDownTask:
    return WindDownTask(round_.state.term, task.id, str(final), reason)


def _deadline_text(progress: Progress) -> str:
    """Says that the deadline has passed, and what the task was waiting for."""
    seconds = progress.task.orchestration.deadline_seconds
    waiting = next((run for run in progress.runs if not run.ended), None)
    told = ""
    if waiting is not None:
        told = f"; {waiting.id} was {waiting.status}" + (f" ({waiting.reason})" if waiting.reason else "")
    return f"{reasons.DEADLINE}: it has not ended within {seconds:g} s{told}"


def load_of(state: ClusterState) -> dict[str, int]:
    """How many runs each node has or is about to have."""
    load: dict[str, int] = {}
    waiting = [run for run in state.runs.values() if run.status is RunStatus.PLANNED and run.node != ANY_NODE]
    for run in counted(state) + waiting:
        load[run.node] = load.get(run.node, 0) + 1
    return load

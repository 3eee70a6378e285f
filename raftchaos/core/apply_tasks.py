"""Commands about tasks: submit, cancel, pause, resume, wind down, finish."""

from __future__ import annotations

import dataclasses

from raftchaos import limits
from raftchaos.core import admission, answers, commands, history, reasons
from raftchaos.core.answers import Answer
from raftchaos.core.draft import Draft
from raftchaos.core.progress import Progress, slots
from raftchaos.core.verdict import Conclusion, conclude
from raftchaos.model.events import EventType
from raftchaos.model.resolved import ResolvedOrchestration
from raftchaos.model.runs import RunStatus
from raftchaos.model.tasks import Task, TaskStatus

WIND_DOWN_FINALS = frozenset({TaskStatus.FAILED, TaskStatus.ABORTED, TaskStatus.RECOVERY_FAILED})
"""What the planner may end a task as."""


def submit_task(draft: Draft, command: commands.SubmitTask) -> Answer:
    """Accept an orchestration, or answer with the task of that id if there is or was one."""
    wrong = admission.bad_task_id(command.id)
    if wrong:
        return answers.refuse(answers.USAGE, wrong)
    orchestration = admission.parse(command.orchestration)
    if isinstance(orchestration, str):
        return answers.refuse(answers.USAGE, orchestration)
    known = _known(draft, command.id, orchestration)
    if known is not None:
        return known
    admitted = admission.admit(draft.base, command.id, orchestration, draft.context.wall_ms)
    task = admitted.accepted
    if task is None:
        first = dict(admitted.refusals[0])
        rest = [str(item["error"]) for item in admitted.refusals[1:]]
        if rest:
            first["error"] = answers.clip("; ".join([str(first["error"]), *rest]), limits.ANSWER_TEXT)
        return first
    draft.tasks.put(task.id, task)
    data = {
        "name": orchestration.name,
        "mode": str(orchestration.mode),
        "targets": len(task.targets),
        "steps": len(orchestration.steps),
    }
    draft.tell(EventType.TASK_SUBMITTED, data, task=task.id)
    status = task.status
    if not task.targets:
        # onNoTargets: skip. There is nothing to wait for.
        status = finish(draft, task, command.kind, conclude(Progress(task, [])))
    return answers.ok(task=task.id, status=str(status), targets=len(task.targets), maxNodes=task.max_nodes)


def cancel_task(draft: Draft, command: commands.CancelTask) -> Answer:
    """Recover what is active and end the task as cancelled. A task that has ended stays as it is."""
    task = draft.tasks.get(command.id)
    if task is None:
        return _known(draft, command.id) or _no_task(command.id)
    if task.status is not TaskStatus.RECOVERING:
        reason = answers.clip(command.reason, limits.REASON) or "cancelled"
        wind_down(draft, task, command.kind, TaskStatus.CANCELLED, reason, reasons.CANCELLED)
    return answers.ok(task=task.id, status=str(TaskStatus.RECOVERING))


def pause_task(draft: Draft, command: commands.PauseTask) -> Answer:
    """Recover what is active and plan nothing until the task is resumed. Its deadline goes on."""
    task = draft.tasks.get(command.id)
    if task is None:
        return _no_task(command.id)
    if task.status is TaskStatus.PAUSED:
        return answers.ok(task=task.id, status=str(task.status), existing=True)
    if task.status is TaskStatus.RECOVERING:
        return answers.refuse(answers.REFUSED, f"the task {task.id} is ending as {task.final}")
    runs = draft.runs_of(task.id)
    cut = sum(1 for run in runs if run.reason == reasons.PAUSED or not run.ended)
    if cut > max(limits.PAUSED_RUNS, len(slots(task))):
        return answers.refuse(answers.REFUSED, f"the task {task.id} was paused too often: {cut} of its runs were cut")
    grown = admission.pause_growth(task, (run for run in runs if not run.ended))
    if grown > admission.free(draft.base):
        return answers.refuse(answers.REFUSED, f"the replicated state has no room for {grown} bytes of new attempts")
    reserved = task.reserved + grown
    draft.move_task(task, command.kind, TaskStatus.PAUSED, paused_ms=draft.context.wall_ms, reserved=reserved)
    _stop_runs(draft, task.id, command.kind, reasons.PAUSED)
    return answers.ok(task=task.id, status=str(TaskStatus.PAUSED))


def resume_task(draft: Draft, command: commands.ResumeTask) -> Answer:
    """Take up a paused task: the planner gives its runs new attempts for the time that is left."""
    task = draft.tasks.get(command.id)
    if task is None:
        return _no_task(command.id)
    if task.status in (TaskStatus.PENDING, TaskStatus.RUNNING):
        return answers.ok(task=task.id, status=str(task.status), existing=True)
    if task.status is not TaskStatus.PAUSED:
        return answers.refuse(answers.REFUSED, f"the task {task.id} is ending as {task.final}")
    after = TaskStatus.RUNNING if task.started_ms else TaskStatus.PENDING
    draft.move_task(task, command.kind, after, paused_ms=0)
    return answers.ok(task=task.id, status=str(after))


def wind_down_task(draft: Draft, command: commands.WindDownTask) -> Answer:
    """The planner ends a task."""
    task = draft.tasks.get(command.id)
    if task is None:
        return _no_task(command.id)
    if task.status is TaskStatus.RECOVERING:
        return answers.ok(task=task.id, existing=True)
    if command.final not in WIND_DOWN_FINALS:
        return answers.refuse(answers.USAGE, f"found {answers.clip(command.final, 40)!r} as the end of a task")
    reason = answers.clip(command.reason, limits.REASON)
    wind_down(draft, task, command.kind, TaskStatus(command.final), reason, reasons.of_text(reason))
    return answers.ok(task=task.id)


def finish_task(draft: Draft, command: commands.FinishTask) -> Answer:
    """Every run has ended: the task gets its final status and its verdict, and moves to the history."""
    task = draft.tasks.get(command.id)
    if task is None:
        return _no_task(command.id)
    progress = Progress(task, draft.runs_of(task.id))
    if task.status not in (TaskStatus.RUNNING, TaskStatus.RECOVERING) or not progress.all_ended:
        return answers.refuse(answers.REFUSED, f"the task {task.id} is {task.status} and has not come to its end")
    status = finish(draft, task, command.kind, conclude(progress))
    return answers.ok(task=task.id, status=str(status))


def wind_down(draft: Draft, task: Task, cause: str, final: TaskStatus, reason: str, run_reason: str) -> None:
    """Skip what is planned, recover what is live, and remember what the task becomes once that is done."""
    draft.move_task(task, cause, TaskStatus.RECOVERING, final=final, reason=reason)
    _stop_runs(draft, task.id, cause, run_reason)


def _stop_runs(draft: Draft, task: str, cause: str, reason: str) -> None:
    for run in draft.runs_of(task):
        if run.status is RunStatus.PLANNED:
            draft.move_run(run, cause, RunStatus.SKIPPED, reason=reason)
        elif run.status in (RunStatus.GRANTED, RunStatus.ACTIVE):
            draft.move_run(run, cause, RunStatus.RECOVERING, reason=reason)


def finish(draft: Draft, task: Task, cause: str, end: Conclusion) -> TaskStatus:
    """Move a task whose runs have all ended to the history."""
    runs = draft.runs_of(task.id)
    draft.move_task(task, cause, end.status, reason=answers.clip(end.reason, limits.REASON))
    # The event that `move_task` told lacks the verdict.
    last = draft.events.pop()
    draft.events.append(dataclasses.replace(last, data={**last.data, "verdict": str(end.verdict)}))
    draft.finished.put(task.id, history.summarize(Progress(task, runs), end, draft.context.wall_ms))
    draft.tasks.drop(task.id)
    for run in runs:
        draft.runs.drop(run.id)
    word = str(end.verdict) if end.status is TaskStatus.COMPLETED else str(end.status)
    key = f"{word}/{task.orchestration.mode}"
    draft.completed.put(key, draft.completed.get(key, 0) + 1)
    _forget_oldest(draft)
    return end.status


def _forget_oldest(draft: Draft) -> None:
    while len(draft.finished) > limits.TASKS_FINISHED:
        oldest = next(iter(draft.finished))
        draft.finished.drop(oldest)
        draft.forgotten.put(history.hash_of(oldest), None)
    while len(draft.forgotten) > limits.TASK_IDS_REMEMBERED:
        draft.forgotten.drop(next(iter(draft.forgotten)))


def _known(draft: Draft, task_id: str, wanted: ResolvedOrchestration | None = None) -> Answer | None:
    """The answer about a task that exists or existed; None for an id that was never seen.

    A `wanted` orchestration must be the one of the task."""
    task = draft.tasks.get(task_id)
    if task is not None:
        if wanted is not None and history.fingerprint(task.orchestration) != history.fingerprint(wanted):
            return _other_orchestration(task_id, task.orchestration.name)
        return answers.ok(task=task.id, status=str(task.status), existing=True)
    data = draft.finished.get(task_id)
    if data is not None:
        summary = history.load(data)
        if wanted is not None and summary["fingerprint"] != history.fingerprint(wanted):
            return _other_orchestration(task_id, summary["name"])
        return answers.ok(task=task_id, status=summary["status"], verdict=summary["verdict"], existing=True)
    if history.hash_of(task_id) in draft.forgotten:
        return answers.refuse(
            answers.CONFLICT,
            f"the task {task_id} ended long ago and left the history",
            hint="submit it with another id to run it again",
        )
    return None


def _other_orchestration(task_id: str, name: str) -> Answer:
    return answers.refuse(
        answers.CONFLICT,
        f"the id {task_id} belongs to another submit, of the orchestration {answers.clip(name, limits.NAME)!r}",
        hint="submit it with another id",
    )


def _no_task(task_id: str) -> Answer:
    return answers.refuse(answers.NOT_FOUND, f"there is no unfinished task {answers.clip(task_id, 100)!r}")

"""Commands about runs: planned, skipped, granted, active, finished."""

from __future__ import annotations

import dataclasses
from typing import Any

from raftchaos import limits
from raftchaos.core import answers, capability, commands, counting, transitions
from raftchaos.core.answers import Answer
from raftchaos.core.draft import Draft
from raftchaos.core.progress import ITERATION, Progress, slot_of, slots
from raftchaos.errors import UsageError
from raftchaos.model.events import EventType
from raftchaos.model.nodes import Node, NodeStatus
from raftchaos.model.resolved import CoordinationMode
from raftchaos.model.runs import ANY_NODE, Effect, Run, RunId, RunStatus
from raftchaos.model.tasks import Task, TaskStatus


def plan_runs(draft: Draft, command: commands.PlanRuns) -> Answer:
    """Add the planner's next runs to a task: all of them, or none."""
    task = draft.tasks.get(command.task)
    if task is None:
        return answers.refuse(answers.NOT_FOUND, f"there is no unfinished task {answers.clip(command.task, 100)!r}")
    if task.status not in (TaskStatus.PENDING, TaskStatus.RUNNING):
        return answers.refuse(answers.REFUSED, f"the task {task.id} is {task.status}")
    progress = Progress(task, draft.runs_of(task.id))
    planned: dict[RunId, float] = {}
    filled: set[tuple[int, str]] = set()
    for text, seconds in command.runs:
        run = _parse(text)
        wrong = "this is no run id" if run is None else _not_next(progress, run, seconds)
        if run is None or wrong:
            return answers.refuse(answers.REFUSED, f"{answers.clip(text, 120)} cannot be planned: {wrong}")
        place = (run.step, slot_of(task, run))
        if place in filled:
            return answers.refuse(answers.REFUSED, f"{answers.clip(text, 120)} cannot be planned: it stands twice")
        filled.add(place)
        planned[run] = float(seconds)
    if not planned:
        return answers.refuse(answers.REFUSED, "no runs are named")
    if task.status is TaskStatus.PENDING:
        started = task.started_ms or draft.context.wall_ms
        draft.move_task(task, command.kind, TaskStatus.RUNNING, started_ms=started)
    for run, seconds in planned.items():
        planned_ms = draft.context.wall_ms
        draft.plan_run(Run(run, RunStatus.PLANNED, run.node, planned_ms=planned_ms, duration_seconds=seconds))
    return answers.ok(planned=len(planned))


def skip_run(draft: Draft, command: commands.SkipRun) -> Answer:
    """A planned run does not take place."""
    run = _run(draft, command.run)
    if run is None:
        return _no_run(command.run)
    if run.status is not RunStatus.PLANNED:
        return answers.refuse(answers.REFUSED, f"the run is {run.status}")
    draft.move_run(run, command.kind, RunStatus.SKIPPED, reason=command.reason)
    return answers.ok()


def start_run(draft: Draft, command: commands.StartRun) -> Answer:
    """Grant a run to the node that asks, or refuse: `retryable` tells whether a new request may be granted later."""
    run = _run(draft, command.run)
    task = None if run is None else draft.tasks.get(run.id.task)
    if run is None or task is None:
        return _no_run(command.run)
    refused = _not_allowed(draft, task, run, command)
    if refused is not None:
        return refused
    wait = counting.must_wait(draft.base, task, run, command.node, command.targets)
    if wait:
        # The planner must not skip a run that a node still asks for.
        noted = dataclasses.replace(run, asked_ms=draft.context.wall_ms, reason=answers.clip(wait, limits.RUN_REASON))
        draft.runs.put(run.id, noted)
        return answers.refuse(answers.REFUSED, wait, retryable=True)
    draft.move_run(
        run,
        command.kind,
        RunStatus.GRANTED,
        node=command.node,
        incarnation=command.incarnation,
        targets=tuple(sorted(set(command.targets))),
        granted_ms=draft.context.wall_ms,
        reason="",
    )
    return answers.ok(granted=True, run=str(run.id), durationSeconds=run.duration_seconds)


def run_active(draft: Draft, command: commands.RunActive) -> Answer:
    """The fault of a granted run is on."""
    run = _run(draft, command.run)
    if run is None:
        return _no_run(command.run)
    if (run.node, run.incarnation) != (command.node, command.incarnation):
        return answers.refuse(answers.REFUSED, f"the run was not granted to this start of {command.node}")
    if run.status is RunStatus.ACTIVE:
        return answers.ok(existing=True)
    if run.status is not RunStatus.GRANTED:
        return answers.refuse(answers.REFUSED, f"the run is {run.status}")
    draft.move_run(run, command.kind, RunStatus.ACTIVE, active_ms=draft.context.wall_ms)
    return answers.ok()


def run_finished(draft: Draft, command: commands.RunFinished) -> Answer:
    """A node reports the end of a run of its own. A run that has ended takes nothing more but its effect."""
    run = _run(draft, command.run)
    stuck = None if (parsed := _parse(command.run)) is None else draft.unrecovered.get(parsed)
    if run is None and stuck is None:
        return _no_run(command.run)
    known = run if run is not None else stuck
    assert known is not None
    if known.node != command.node or command.incarnation < known.incarnation or not known.incarnation:
        return answers.refuse(answers.REFUSED, f"the run was not granted to this start of {command.node}")
    if command.status not in transitions.REPORTED:
        return answers.refuse(answers.USAGE, f"found {answers.clip(command.status, 40)!r} as the end of a run")
    status = RunStatus(command.status)
    if stuck is not None and status is not RunStatus.RECOVERY_FAILED:
        return _recovered_late(draft, stuck, run, command)
    if run is None:
        return answers.ok(existing=True)
    effects = _effects(draft, run, command)
    if run.live:
        reason = run.reason if run.status is RunStatus.RECOVERING and run.reason else command.reason
        keep = reason if status is RunStatus.INTERRUPTED else command.reason
        draft.move_run(run, command.kind, status, reason=keep, effects=effects)
        return answers.ok()
    if run.ended and not run.effects and effects:
        _fill_effects(draft, run, effects)
        return answers.ok(late=True)
    if run.ended:
        return answers.ok(existing=True)
    return answers.refuse(answers.REFUSED, f"the run is {run.status}")


def _not_allowed(draft: Draft, task: Task, run: Run, command: commands.StartRun) -> Answer | None:
    """The refusal of a request that no waiting makes right (but for a degraded node), or None."""
    node = draft.nodes.get(command.node)
    if len(command.targets) > limits.RUN_TARGETS or any(len(item) > limits.TARGET for item in command.targets):
        return answers.refuse(answers.USAGE, f"found targets that are too long, or more than {limits.RUN_TARGETS}")
    if draft.halts:
        return answers.refuse(answers.HALTED, "the cluster is halted")
    if node is None or (node.incarnation, node.directory) != (command.incarnation, command.directory):
        return answers.refuse(answers.REFUSED, f"this start of {answers.clip(command.node, 80)} is not registered")
    if node.status is not NodeStatus.ACTIVE:
        return answers.refuse(answers.REFUSED, f"{node.name} is {node.status}", retryable=True)
    if node.drained:
        return answers.refuse(answers.REFUSED, f"{node.name} is drained", retryable=True)
    if task.status is not TaskStatus.RUNNING:
        return answers.refuse(answers.REFUSED, f"the task {task.id} is {task.status}")
    if run.status is not RunStatus.PLANNED:
        return answers.refuse(answers.REFUSED, f"the run is {run.status}")
    if run.node not in (node.name, ANY_NODE) or node.name not in task.targets:
        return answers.refuse(answers.REFUSED, f"the run is not offered to {node.name}")
    return _cannot(node, task, run)


def _cannot(node: Node, task: Task, run: Run) -> Answer | None:
    lacking = capability.why_not(node, [task.orchestration.steps[run.id.step]])
    if lacking:
        return answers.refuse(answers.REFUSED, f"{node.name} cannot do it: {answers.listing(lacking, 3)}")
    return None


def _not_next(progress: Progress, run: RunId, seconds: float) -> str:
    """Why a run cannot be planned now; empty if it is the next attempt of its slot."""
    task = progress.task
    offered = task.orchestration.mode is CoordinationMode.PEER_TO_PEER
    if run.task != task.id or run.iteration != ITERATION or run.attempt < 1:
        return "it does not belong to the task"
    if not 0 <= run.step < len(task.orchestration.steps):
        return "the task has no such step"
    if not 0 < seconds <= limits.STEP_DURATION:
        return "its duration is out of range"
    if (run.node == ANY_NODE) is not offered or (not offered and run.node not in task.targets):
        return "its node is not a target"
    slot = slot_of(task, run)
    if slot not in slots(task):
        return "the task has no such place"
    attempts = progress.attempts(run.step, slot)
    if attempts and not attempts[-1].ended:
        return f"{attempts[-1].id} has not ended"
    expected, _ = progress.next_run(run.step, slot, run.node)
    return "" if run == expected else f"the next attempt is {expected.attempt}"


def _effects(draft: Draft, run: Run, command: commands.RunFinished) -> tuple[Effect, ...]:
    """The reported effects within their bounds: one per fault of the step, few and short counts, none negative."""
    task = draft.tasks.get(run.id.task)
    most = 0 if task is None else len(task.orchestration.steps[run.id.step].faults)
    kept = []
    for effect in command.effects[:most]:
        names = sorted(effect, key=lambda name: (name != "touched", name))
        good = [name for name in names if len(name.encode()) <= limits.EFFECT_NAME and effect[name] >= 0]
        kept.append({name: effect[name] for name in sorted(good[: limits.EFFECT_COUNTS])})
    return tuple(kept)


def _fill_effects(draft: Draft, run: Run, effects: tuple[Effect, ...]) -> None:
    filled = dataclasses.replace(run, effects=effects)
    draft.runs.put(run.id, filled)
    status = str(run.status)
    data: dict[str, Any] = {"from": status, "to": status, "step": run.id.step, "reason": run.reason}
    data["effects"] = [dict(effect) for effect in effects]
    draft.tell(EventType.RUN_STATUS, data, task=run.id.task, run=str(run.id), node=run.node)


def _recovered_late(draft: Draft, stuck: Run, run: Run | None, command: commands.RunFinished) -> Answer:
    """A fault that could not be taken back is off at last: it no longer counts. Its task stays recoveryFailed."""
    draft.unrecovered.drop(stuck.id)
    if run is not None:
        cleared = dataclasses.replace(run, targets=())
        draft.runs.put(run.id, cleared)
        effects = _effects(draft, run, command)
        if effects and not run.effects:
            _fill_effects(draft, cleared, effects)
    return answers.ok(recovered=True)


def _parse(text: str) -> RunId | None:
    try:
        run = RunId.parse(text)
    except UsageError:
        return None
    # Only the canonical text: int() takes "+1", " 1" and "1_0" too, and not every integer fits.
    return run if str(run) == text and len(text) <= limits.REASON else None


def _run(draft: Draft, text: str) -> Run | None:
    run = _parse(text)
    return None if run is None else draft.runs.get(run)


def _no_run(text: str) -> Answer:
    return answers.refuse(answers.NOT_FOUND, f"there is no run {answers.clip(text, 120)!r} of an unfinished task")

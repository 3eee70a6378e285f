"""A dry run: what a submit would do now, without doing it. Shown by `--dry-run`.

It asks the same functions that `apply` and the planner use, so that it cannot promise anything else than they do.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from raftchaos.core import admission, targeting
from raftchaos.core.commands import PlanRuns
from raftchaos.core.plan_modes import Round, next_commands
from raftchaos.core.planner import load_of
from raftchaos.core.progress import Progress, slots, takers
from raftchaos.core.state import ClusterState
from raftchaos.model.resolved import CoordinationMode, ResolvedOrchestration
from raftchaos.model.runs import Run, RunId, RunStatus
from raftchaos.model.tasks import Task, TaskStatus

TASK = "preview"
"""The id of the task that a preview speaks of."""


def preview(state: ClusterState, orchestration: ResolvedOrchestration, now_ms: int) -> dict[str, Any]:
    """What would become of an orchestration that is submitted now, as plain data.

    `accepted`; `refusals` ([{code, error, hint?}]); `name`, `mode`, `deadlineSeconds`; `disarmed` (safety nets that it
    does without); `targets` (nodes that may be touched); `takers` (how many nodes each step is on at a time); `limits`
    ({activeNodes, maxNodes, maxPercent, atOnce}); `steps` ([{name, scenario, faults, durationSeconds,
    delayBeforeSeconds, continueOnFailure, runs}]), where `runs` are [{run, node, durationSeconds}], the node `*`
    standing for whichever node asks first.
    """
    admitted = admission.admit(state, TASK, orchestration, now_ms)
    task = admitted.task
    rule = orchestration.limits
    active = len(targeting.available(state.nodes))
    return {
        "accepted": admitted.accepted is not None,
        "refusals": [dict(refusal) for refusal in admitted.refusals],
        "name": orchestration.name,
        "mode": str(orchestration.mode),
        "deadlineSeconds": orchestration.deadline_seconds,
        "disarmed": orchestration.disarmed,
        "targets": [] if task is None else list(task.targets),
        "takers": 0 if task is None else _width(task),
        "limits": {
            "activeNodes": active,
            "maxNodes": rule.max_nodes,
            "maxPercent": rule.max_percent,
            "atOnce": min(targeting.max_nodes(rule, active), max(active, 1)),
        },
        "steps": _steps(state, orchestration, admitted.accepted, now_ms),
    }


def _width(task: Task) -> int:
    mode, count = task.orchestration.mode, len(task.targets)
    if not count:
        return 0
    if mode is CoordinationMode.PEER_TO_PEER:
        return takers(task)
    return count if mode is CoordinationMode.PARALLEL else 1


def _steps(
    state: ClusterState, orchestration: ResolvedOrchestration, task: Task | None, now_ms: int
) -> list[dict[str, Any]]:
    runs: list[list[dict[str, Any]]] = [[] for _ in orchestration.steps]
    if task is not None and task.targets:
        for run, seconds in _planned(state, task, now_ms):
            runs[run.step].append({"run": str(run), "node": run.node, "durationSeconds": seconds})
    return [
        {
            "name": step.name,
            "scenario": step.scenario,
            "faults": [fault.to_dict() for fault in step.faults],
            "durationSeconds": step.duration_seconds,
            "delayBeforeSeconds": step.delay_before_seconds,
            "continueOnFailure": step.continue_on_failure,
            "runs": found,
        }
        for step, found in zip(orchestration.steps, runs, strict=True)
    ]


def _planned(state: ClusterState, task: Task, now_ms: int) -> list[tuple[RunId, float]]:
    """The runs that the planner would plan one after another if each of them succeeded and no delay was left."""
    steps = tuple(dataclasses.replace(step, delay_before_seconds=0.0) for step in task.orchestration.steps)
    task = dataclasses.replace(
        task, status=TaskStatus.RUNNING, orchestration=dataclasses.replace(task.orchestration, steps=steps)
    )
    done: list[Run] = []
    found: list[tuple[RunId, float]] = []
    for _ in range(len(steps) * len(slots(task)) + 1):
        commands = next_commands(Round(state, now_ms, load_of(state)), Progress(task, done))
        planned = [command for command in commands if isinstance(command, PlanRuns)]
        if not planned:
            break
        for text, seconds in planned[0].runs:
            run = RunId.parse(text)
            found.append((run, seconds))
            done.append(Run(run, RunStatus.SUCCEEDED, run.node, ended_ms=now_ms))
    return found

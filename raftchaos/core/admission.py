"""Whether a submitted orchestration becomes a task. Everything that can be known beforehand is checked here, so that
a task that can never run is refused at once, with the reason, instead of waiting for its deadline."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgpack

from raftchaos import limits
from raftchaos.core import answers, capability, shape, targeting
from raftchaos.core.answers import Answer
from raftchaos.core.progress import ASSIGNED, slots, takers
from raftchaos.core.state import ClusterState
from raftchaos.model.nodes import Node
from raftchaos.model.resolved import CoordinationMode, OnNoTargets, ResolvedOrchestration
from raftchaos.model.runs import Run
from raftchaos.model.tasks import Task

_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FIXED = 512
"""Bytes of a task or a node beside what is counted: keys, numbers, statuses."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The task that an orchestration would become, and what speaks against it: it is accepted if nothing does."""

    task: Task | None = None
    """None if its targets were not looked at."""
    refusals: tuple[Answer, ...] = ()

    @property
    def accepted(self) -> Task | None:
        """The task, unless it is refused."""
        return None if self.refusals else self.task


def bad_task_id(task_id: str) -> str:
    """What is wrong with the id of a task; empty if nothing is."""
    if len(task_id) <= limits.TASK_ID and _TASK_ID.fullmatch(task_id):
        return ""
    return (
        f"found the task id {answers.clip(task_id, 100)!r}, expected at most {limits.TASK_ID} letters, digits, "
        "and . _ - after the first"
    )


def parse(data: dict[str, Any]) -> ResolvedOrchestration | str:
    """The orchestration that plain data tells, or what is wrong with it."""
    if not shape.plain(data):
        return "the orchestration holds values that are no plain data, or is nested too deeply"
    try:
        orchestration = ResolvedOrchestration.from_dict(data)
    except (ValueError, TypeError, OverflowError) as error:
        return str(error)
    return shape.problem(orchestration) or _out_of_range(orchestration)


def admit(state: ClusterState, task_id: str, orchestration: ResolvedOrchestration, wall_ms: int) -> Admission:
    """Decide about a task. All refusals are told, not only the first."""
    if state.halted:
        reasons = "; ".join(state.halts[key].reason or key for key in sorted(state.halts))
        return _refused(answers.HALTED, f"the cluster is halted: {reasons}")
    if len(state.tasks) >= limits.TASKS_UNFINISHED:
        return _refused(
            answers.REFUSED,
            f"there are {len(state.tasks)} unfinished tasks, at most {limits.TASKS_UNFINISHED} are kept",
            hint="wait until some have ended, or cancel some",
        )
    targets = targeting.choose(state.nodes, orchestration)
    problems = _unavailable(targets)
    if not targets.names and not problems and orchestration.on_no_targets is OnNoTargets.FAIL:
        problems.append(
            answers.refuse(
                answers.REFUSED,
                f"no node matches: {_rule_text(orchestration)}",
                hint="`raftchaos node list` shows the nodes, their status and their labels; correct targetNodes",
            )
        )
    names, incapable = _capable(state.nodes, targets.names, orchestration)
    problems += incapable
    active = len(targeting.available(state.nodes))
    task = Task(
        id=task_id,
        orchestration=orchestration,
        targets=names,
        max_nodes=targeting.max_nodes(orchestration.limits, active),
        submitted_ms=wall_ms,
        deadline_ms=wall_ms + int(orchestration.deadline_seconds * 1000),
    )
    problems += _never_fits(task, active)
    reserved = reserve(task, state.nodes)
    problems += _no_room(state, reserved)
    return Admission(dataclasses.replace(task, reserved=reserved), tuple(problems))


def reserve(task: Task, nodes: dict[str, Node]) -> int:
    """Bytes that a task and all the runs that it may ever have take in a snapshot at most, pauses not counted."""
    width = len(slots(task))
    runs = sum(
        width * (1 + step.retries if task.orchestration.mode in ASSIGNED else 1) * run_size(task, index)
        for index, step in enumerate(task.orchestration.steps)
    )
    proxies = sum(len(proxy) + 10 for name in task.targets if name in nodes for proxy in nodes[name].proxies)
    document = len(msgpack.packb(task.orchestration.to_dict()))
    return _FIXED + document + sum(len(name) + 2 for name in task.targets) + runs + proxies


def run_size(task: Task, step: int) -> int:
    """Bytes that a run of a step takes in a snapshot at most, its targets not counted."""
    faults = len(task.orchestration.steps[step].faults)
    names = 2 * max((len(name) for name in task.targets), default=0)
    return limits.RUN_ENCODED + names + faults * limits.EFFECT_COUNTS * (limits.EFFECT_NAME + 10)


def pause_growth(task: Task, open_runs: Iterable[Run]) -> int:
    """Bytes that the new attempts of paused runs take on top of what is reserved."""
    return sum(run_size(task, run.id.step) for run in open_runs)


def node_size(node: Node) -> int:
    """Bytes that a node takes in a snapshot, at most."""
    return len(msgpack.packb(node.to_dict())) + 2 * limits.REASON


def used(state: ClusterState) -> int:
    """Bytes of `limits.SNAPSHOT_WORKING` that are taken or promised."""
    nodes = sum(node_size(node) for node in state.nodes.values())
    tasks = sum(task.reserved for task in state.tasks.values())
    unrecovered = sum(
        limits.RUN_ENCODED + sum(len(target) + 2 for target in run.targets) for run in state.unrecovered.values()
    )
    return nodes + tasks + unrecovered


def free(state: ClusterState) -> int:
    """Bytes of `limits.SNAPSHOT_WORKING` that nobody has a claim to."""
    return max(limits.SNAPSHOT_WORKING - used(state), 0)


def _no_room(state: ClusterState, wanted: int) -> list[Answer]:
    left = free(state)
    if wanted <= left:
        return []
    return [
        answers.refuse(
            answers.REFUSED,
            f"the task and its runs may take {wanted} bytes of the replicated state, {left} are free",
            hint="wait until other tasks have ended, or use fewer targets or steps",
        )
    ]


def _never_fits(task: Task, active: int) -> list[Answer]:
    mode, count = task.orchestration.mode, len(task.targets)
    rule = task.orchestration.limits
    shown = f"the limits allow {task.max_nodes} at once (maxNodes {_none(rule.max_nodes)}, maxPercent "
    shown += f"{_none(rule.max_percent)} of {active} active)"
    if mode is CoordinationMode.PARALLEL and count > task.max_nodes:
        return [
            answers.refuse(
                answers.REFUSED,
                f"a parallel task would have {count} nodes under faults, {shown}",
                hint="choose fewer nodes, raise the limits, or use another coordinationMode",
            )
        ]
    if count and task.max_nodes < 1:
        return [answers.refuse(answers.REFUSED, f"no node may be under faults: {shown}")]
    if mode is CoordinationMode.PEER_TO_PEER and count and takers(task) > count:
        return [
            answers.refuse(answers.REFUSED, f"{takers(task)} nodes are to take each step, {count} match and are able")
        ]
    return []


def _unavailable(targets: targeting.Targets) -> list[Answer]:
    problems: list[Answer] = []
    if targets.unknown:
        names = answers.listing(list(targets.unknown))
        problems.append(
            answers.refuse(answers.REFUSED, f"no such node: {names}", hint="`raftchaos node list` shows them")
        )
    if targets.unavailable:
        shown = answers.listing([f"{name} is {reason}" for name, reason in targets.unavailable])
        problems.append(answers.refuse(answers.REFUSED, f"not every named node is active: {shown}"))
    return problems


def _capable(
    nodes: dict[str, Node], names: tuple[str, ...], orchestration: ResolvedOrchestration
) -> tuple[tuple[str, ...], list[Answer]]:
    """The targets that can do it, and the refusals: every one must be able where each runs every step, else one.

    An assigned step needs one node that can do it; nodes that can do no step at all are not targets.
    """
    steps = orchestration.steps
    if orchestration.mode not in ASSIGNED:
        lacking = capability.refusals(nodes, names, steps)
        return names, [_lacks("not every target can do it", lacking)] if lacking else []
    problems = []
    for step in steps:
        lacking = capability.refusals(nodes, names, [step])
        if names and len(lacking) == len(names):
            problems.append(_lacks(f"no target can do the step {step.name!r}", lacking))
    able = tuple(name for name in names if any(not capability.why_not(nodes[name], [step]) for step in steps))
    return able or names, problems


def _lacks(what: str, lacking: dict[str, list[str]]) -> Answer:
    shown = answers.listing([f"{name}: {', '.join(lacking[name][:5])}" for name in sorted(lacking)])
    return answers.refuse(
        answers.REFUSED, f"{what}: {shown}", hint="choose other targets, or add what is missing on those nodes"
    )


def _out_of_range(orchestration: ResolvedOrchestration) -> ResolvedOrchestration | str:
    """The orchestration, or which of its numbers or texts is out of range."""
    rule, bounds = orchestration.targets, orchestration.limits
    steps = orchestration.steps
    checks: list[tuple[bool, str]] = [
        (0 < len(steps) <= limits.STEPS, f"found {len(steps)} steps, expected 1 to {limits.STEPS}"),
        (0 < orchestration.deadline_seconds <= limits.DEADLINE, "found a deadline out of range"),
        (rule.count is None or rule.count >= 1, "found a count of targets below 1"),
        (rule.percent is None or 1 <= rule.percent <= 100, "found a percent of targets out of 1 to 100"),
        (rule.count is None or rule.count <= limits.NODES, f"found a count of targets above {limits.NODES}"),
        (bounds.max_percent is None or 0 <= bounds.max_percent <= 100, "found a maxPercent out of 0 to 100"),
        (bounds.max_nodes is None or bounds.max_nodes >= 0, "found a negative maxNodes"),
        (len(orchestration.name) <= limits.NAME, "found a name that is too long"),
    ]
    for step in steps:
        checks += [
            (bool(step.faults), f"the step {step.name!r} has no faults"),
            (0 < step.duration_seconds <= limits.STEP_DURATION, f"the step {step.name!r} has a duration out of range"),
            (0 <= step.delay_before_seconds <= limits.DEADLINE, f"the step {step.name!r} has a delay out of range"),
            (0 <= step.retries <= limits.STEP_RETRIES, f"the step {step.name!r} has retries out of range"),
        ]
    return next((text for good, text in checks if not good), orchestration)


def _rule_text(orchestration: ResolvedOrchestration) -> str:
    rule = orchestration.targets
    if rule.selector:
        wanted = ", ".join(f"{key}={rule.selector[key]}" for key in sorted(rule.selector))
        return f"the selector {answers.clip(wanted, 200)} finds no active node that is not drained"
    return "there is no active node that is not drained"


def _none(value: int | None) -> str:
    return "not set" if value is None else str(value)


def _refused(code: str, error: str, *, hint: str = "") -> Admission:
    return Admission(refusals=(answers.refuse(code, error, hint=hint),))

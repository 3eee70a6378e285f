"""Finished tasks, each as a few bytes that every peer keeps: enough for a report of what happened on each node.

A summary is at most `limits.TASK_ENCODED` bytes. What does not fit is shed in a stated order (`SHEDDING`), and the
summary says so: the runs one by one, then what each node's faults did, then the details of steps, then the reasons of
nodes, then the names of nodes, the successful ones first. How many nodes had which outcome always stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgpack

from raftchaos import limits
from raftchaos.core.answers import clip
from raftchaos.core.progress import Progress
from raftchaos.core.verdict import Conclusion
from raftchaos.model.resolved import ResolvedOrchestration
from raftchaos.model.runs import ANY_NODE, Effect, Run, RunStatus

VERSION: Final = 1
NOT_REACHED: Final = "notReached"
_WORST_FIRST: Final = (
    RunStatus.RECOVERY_FAILED,
    RunStatus.FAILED,
    RunStatus.INTERRUPTED,
    RunStatus.SKIPPED,
    RunStatus.SUCCEEDED,
    RunStatus.DONE,
)
_RUN_FIELDS: Final = ("id", "node", "status", "reason", "grantedMs", "activeMs", "endedMs", "effects")


class _Stage(NamedTuple):
    """One thing that a summary can do without."""

    name: str
    shed: Callable[[dict[str, Any]], None]


def summarize(progress: Progress, end: Conclusion, ended_ms: int) -> bytes:
    """The bytes of a finished task. The same on every peer."""
    task = progress.task
    summary: dict[str, Any] = {
        "version": VERSION,
        "id": task.id,
        "name": task.orchestration.name,
        "mode": str(task.orchestration.mode),
        "status": str(end.status),
        "verdict": str(end.verdict),
        "reason": clip(end.reason, limits.REASON),
        "fingerprint": fingerprint(task.orchestration),
        "submittedMs": task.submitted_ms,
        "startedMs": task.started_ms,
        "endedMs": ended_ms,
        "maxNodes": task.max_nodes,
        **({"disarmed": task.orchestration.disarmed} if task.orchestration.disarmed else {}),
        "targets": len(task.targets),
        "steps": [_step(progress, index) for index in range(len(task.orchestration.steps))],
        "nodes": _nodes(progress),
        "outcomes": {},
        "runs": [_run(run) for run in progress.runs],
        "shed": [],
    }
    for node in summary["nodes"].values():
        summary["outcomes"][node["outcome"]] = summary["outcomes"].get(node["outcome"], 0) + 1
    return _fit(summary)


def load(data: bytes) -> dict[str, Any]:
    """A finished task as plain data. Raises ValueError if the bytes are no summary.

    Keys: id, name, mode, status, verdict, reason, submittedMs, startedMs, endedMs, maxNodes, disarmed (safety nets),
    targets (names in order; fewer if `shed` says so), steps ([{index, name, faults, status, effects}]), nodes ({name:
    {outcome, reason, runs, touched, effects}}), outcomes ({outcome: how many nodes}), runs ([{id, node, status, reason,
    grantedMs, activeMs, endedMs, effects}]), shed (what was left out for its size), nodesOmitted, fingerprint (of its
    orchestration).
    """
    try:
        summary = msgpack.unpackb(data)
        if not isinstance(summary, dict) or summary.get("version") != VERSION:
            raise ValueError("these bytes are no finished task of this release")
        nodes = summary["nodes"]
        summary.setdefault("disarmed", [])
        summary["nodesOmitted"] = summary["targets"] - len(nodes)
        summary["targets"] = sorted(nodes)
        summary["runs"] = [dict(zip(_RUN_FIELDS, run, strict=True)) for run in summary["runs"]]
        for run in summary["runs"]:
            run["id"] = f"{summary['id']}/{run['id']}"
        for node in nodes.values():
            for key, empty in (("reason", ""), ("effects", {}), ("touched", 0), ("runs", 0)):
                node.setdefault(key, empty)
    except (KeyError, TypeError, AttributeError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"these bytes are no finished task: {type(error).__name__}: {error}") from None
    return dict(summary)


def hash_of(task_id: str) -> bytes:
    """What is remembered of a task that left the history."""
    return hashlib.sha256(task_id.encode()).digest()[:8]


def fingerprint(orchestration: ResolvedOrchestration) -> bytes:
    """The same for equal orchestrations, whatever the order in which their parts were written."""
    return hashlib.sha256(msgpack.packb(_sorted(orchestration.to_dict()))).digest()[:8]


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return [[key, _sorted(value[key])] for key in sorted(value)]
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value


def _step(progress: Progress, index: int) -> dict[str, Any]:
    step = progress.task.orchestration.steps[index]
    runs = [run for run in progress.runs if run.id.step == index]
    effects = [_sum([run.effects[place] for run in runs if place < len(run.effects)]) for place in _places(step.faults)]
    return {
        "index": index,
        "name": step.name,
        "faults": [fault.type for fault in step.faults],
        "status": worst(runs),
        "effects": effects,
    }


def _places(items: tuple[Any, ...]) -> range:
    return range(len(items))


def _nodes(progress: Progress) -> dict[str, dict[str, Any]]:
    runs_of: dict[str, list[Run]] = {name: [] for name in progress.task.targets}
    for run in progress.runs:
        if run.node != ANY_NODE:
            runs_of.setdefault(run.node, []).append(run)
    return {name: _node(runs_of[name]) for name in sorted(runs_of)}


def _node(runs: list[Run]) -> dict[str, Any]:
    outcome = worst(runs)
    reason = next((run.reason for run in runs if str(run.status) == outcome and run.reason), "")
    effects = _sum([effect for run in runs for effect in run.effects])
    return {
        "outcome": outcome,
        "reason": reason,
        "runs": len(runs),
        "touched": effects.get("touched", 0),
        "effects": effects,
    }


def worst(runs: list[Run]) -> str:
    """The worst status among ended runs; `notReached` where there is none.

    The last attempt of a run that was paused or moved tells: what came before it was made good."""
    statuses = {run.status for run in _last_attempts(runs)}
    return str(next((status for status in _WORST_FIRST if status in statuses), NOT_REACHED))


def _last_attempts(runs: list[Run]) -> list[Run]:
    last: dict[tuple[int, int, str], Run] = {}
    for run in sorted(runs, key=lambda run: run.id.attempt):
        last[run.id.iteration, run.id.step, run.node] = run
    return list(last.values())


def _sum(effects: list[Effect]) -> Effect:
    total: Effect = {}
    for effect in effects:
        for name in sorted(effect):
            total[name] = min(total.get(name, 0) + effect[name], 2**63 - 1)
    return total


def _run(run: Run) -> list[Any]:
    """As a list in the order of `_RUN_FIELDS`; the id without its task."""
    return [
        str(run.id).split("/", 1)[1],
        run.node,
        str(run.status),
        run.reason,
        run.granted_ms,
        run.active_ms,
        run.ended_ms,
        [dict(effect) for effect in run.effects],
    ]


def _no_runs(summary: dict[str, Any]) -> None:
    summary["runs"] = []


def _no_node_effects(summary: dict[str, Any]) -> None:
    for node in summary["nodes"].values():
        del node["effects"]


def _short_steps(summary: dict[str, Any]) -> None:
    for step in summary["steps"]:
        step["effects"] = [{"touched": effect.get("touched", 0)} for effect in step["effects"]]
        step["name"] = clip(step["name"], 24)


def _no_node_details(summary: dict[str, Any]) -> None:
    summary["nodes"] = {name: {"outcome": node["outcome"]} for name, node in summary["nodes"].items()}


def _few_steps(summary: dict[str, Any]) -> None:
    summary["steps"] = [step for step in summary["steps"] if step["status"] != str(RunStatus.SUCCEEDED)][:20]


def _few_nodes(summary: dict[str, Any]) -> None:
    """Keeps as many nodes as fit, those that did not succeed first."""
    good = {str(RunStatus.SUCCEEDED), str(RunStatus.DONE), NOT_REACHED}
    nodes = summary["nodes"]
    order = sorted(nodes, key=lambda name: (nodes[name]["outcome"] in good, name))
    fixed = len(msgpack.packb({**summary, "nodes": {}})) + 8
    kept: dict[str, Any] = {}
    for name in order:
        fixed += len(msgpack.packb({name: nodes[name]}))
        if fixed > limits.TASK_ENCODED:
            break
        kept[name] = nodes[name]
    summary["nodes"] = {name: kept[name] for name in sorted(kept)}


SHEDDING: Final = (
    _Stage("runs", _no_runs),
    _Stage("node effects", _no_node_effects),
    _Stage("step details", _short_steps),
    _Stage("node details", _no_node_details),
    _Stage("steps", _few_steps),
    _Stage("nodes", _few_nodes),
)
"""In which order a summary does without what does not fit."""


def _fit(summary: dict[str, Any]) -> bytes:
    data: bytes = msgpack.packb(summary)
    for stage in SHEDDING:
        if len(data) <= limits.TASK_ENCODED:
            break
        stage.shed(summary)
        summary["shed"].append(stage.name)
        data = msgpack.packb(summary)
    return data

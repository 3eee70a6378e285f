"""What the API shows of the state: pure functions from frozen values to plain dicts with camelCase keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raftchaos._version import VERSION
from raftchaos.core.estimate import current_step, share_behind
from raftchaos.core.history import NOT_REACHED, worst
from raftchaos.core.interfaces import Quorum, ReplicaStatus
from raftchaos.core.service_records import ActiveFault, Health, ProxyRecord, SeenFault
from raftchaos.core.services import PeerServices, no_quorum_message
from raftchaos.core.state import ClusterState
from raftchaos.model.faults import FaultType
from raftchaos.model.nodes import Node, NodeStatus
from raftchaos.model.runs import Run, RunId, RunStatus
from raftchaos.model.tasks import Task

Json = dict[str, Any]

PENDING = "pending"
RUNNING = "running"
NOT_BEGUN = (NOT_REACHED, str(RunStatus.SKIPPED))  # of the steps of a task that has ended


def staleness(status: ReplicaStatus) -> str:
    """Why what this peer shows may be out of date; empty if it is not known to be."""
    if not status.quorum.has_quorum or status.leader is None:
        return no_quorum_message(status)
    if not status.ready:
        return "this peer has not caught up with the cluster yet"
    return ""


def envelope(index: int, stale_reason: str) -> Json:
    """What every answer to a read says about itself."""
    return {"index": index, "stale": bool(stale_reason)} | ({"staleReason": stale_reason} if stale_reason else {})


def status_view(services: PeerServices) -> Json:
    """The peer and the cluster at a glance."""
    replica, state, health = services.status(), services.state, services.health()
    local = [halt for halt in services.local_halts() if halt.id not in state.halts]
    halts = [*state.halts.values(), *local]
    return {
        "name": services.name,
        "version": VERSION,
        "cluster": services.cluster,
        "insecure": services.insecure,
        "apiAddress": _api_address(services),
        "durability": services.durability,
        "role": replica.role,
        "leader": replica.leader or "",
        "term": replica.term,
        "quorum": quorum_view(replica.quorum),
        "observers": list(replica.observers),
        "ready": health.ready,
        "reasons": list(health.reasons),
        "halted": bool(halts),
        "halts": [halt.to_dict() for halt in sorted(halts, key=lambda halt: (halt.wall_ms, halt.id))],
        "nodes": nodes_summary(state),
        "tasksUnfinished": len(state.tasks),
        "tasksFinished": len(state.finished),
        "activeFaults": [fault_view(fault) for fault in services.active_faults()],
        "commitIndex": replica.commit_index,
        "lastIndex": replica.last_index,
        "stateHash": services.state_hash(),
    }


def _api_address(services: PeerServices) -> str:
    """Under which others reach the API of this peer; empty before it is registered."""
    node = services.state.nodes.get(services.name)
    return node.api_address if node is not None else ""


def quorum_view(quorum: Quorum) -> Json:
    """Who votes, and who of them is there."""
    return {
        "voters": list(quorum.voters),
        "reachable": list(quorum.reachable),
        "missing": quorum.missing,
        "hasQuorum": quorum.has_quorum,
    }


def nodes_summary(state: ClusterState) -> Json:
    """How many nodes there are of each status."""
    counts = {str(status): 0 for status in NodeStatus}
    for node in state.nodes.values():
        counts[str(node.status)] += 1
    return {"total": len(state.nodes), "drained": sum(node.drained for node in state.nodes.values()), **counts}


def fault_view(fault: ActiveFault) -> Json:
    """A fault that is on."""
    return {"run": fault.run, "fault": fault.fault, "target": fault.target, "problem": fault.problem}


def health_view(health: Health, *, name: str) -> Json:
    """The answer of the probes."""
    return {"name": name, "live": health.live, "ready": health.ready, "reasons": list(health.reasons)}


def nodes_view(services: PeerServices, state: ClusterState) -> list[Json]:
    """All nodes by name."""
    replica, behind = services.status(), services.behind()
    live: dict[str, list[str]] = {}
    for key in sorted(state.runs):
        if state.runs[key].live:
            live.setdefault(state.runs[key].node, []).append(str(key))
    return [_node_view(node, live.get(name, []), replica, behind) for name, node in sorted(state.nodes.items())]


def node_view(services: PeerServices, state: ClusterState, node: Node) -> Json:
    """A node, its part in the cluster and its live runs."""
    live = [str(key) for key in sorted(state.runs) if state.runs[key].node == node.name and state.runs[key].live]
    return _node_view(node, live, services.status(), services.behind())


def _node_view(node: Node, live: list[str], replica: ReplicaStatus, behind: Mapping[str, int]) -> Json:
    name, quorum = node.name, replica.quorum
    return {
        **node.to_dict(),
        "role": "voter" if name in quorum.voters else "observer" if name in replica.observers else "",
        "leader": name == replica.leader,
        "voter": name in quorum.voters,
        "reachable": name in quorum.reachable,
        "behind": 0 if name == replica.leader else behind.get(name),
        "liveRuns": live,
    }


def task_view(task: Task, runs: Sequence[Run], now_ms: int) -> Json:
    """A task that has not ended, with every step and its runs."""
    by_step: dict[int, list[Run]] = {}
    for run in runs:
        by_step.setdefault(run.id.step, []).append(run)
    steps = [
        {
            "index": index,
            "name": step.name,
            "scenario": step.scenario,
            "faults": [fault.to_dict() for fault in step.faults],
            "durationSeconds": step.duration_seconds,
            "delayBeforeSeconds": step.delay_before_seconds,
            "continueOnFailure": step.continue_on_failure,
            "status": _step_status(by_step.get(index, [])),
            "runs": [run_view(run) for run in sorted(by_step.get(index, []), key=lambda run: run.id)],
        }
        for index, step in enumerate(task.orchestration.steps)
    ]
    return {**task_row(task, runs, now_ms), "steps": steps, "nowMs": now_ms}


def _step_status(runs: Sequence[Run]) -> str:
    """`pending`, `running`, or the worst that came of its runs (as the summary of an ended task says it)."""
    if not runs:
        return PENDING
    return RUNNING if any(not run.ended for run in runs) else worst(list(runs))


def ended_view(summary: Mapping[str, Any], now_ms: int) -> Json:
    """A task that has ended, from `core.history.load`, in the shape of `task_view`.

    What its summary has not kept is empty or 0. It has besides what came of each node: `nodes`, `outcomes`,
    `nodesOmitted`, and `shed`, which says what was left out for its size.
    """
    by_step: dict[int, list[Json]] = {}
    for run in summary["runs"]:
        run_id = RunId.parse(run["id"])
        by_step.setdefault(run_id.step, []).append(_ended_run(run_id, run))
    steps = [
        {
            "index": step["index"],
            "name": step["name"],
            "scenario": "",
            "faults": [{"type": fault, "parameters": {}} for fault in step["faults"]],
            "durationSeconds": 0.0,
            "delayBeforeSeconds": 0.0,
            "continueOnFailure": False,
            "status": step["status"],
            "effects": step["effects"],
            "runs": by_step.get(step["index"], []),
        }
        for step in summary["steps"]
    ]
    begun = [step["index"] + 1 for step in summary["steps"] if step["status"] not in NOT_BEGUN]
    begun += [RunId.parse(run["id"]).step + 1 for run in summary["runs"] if run["grantedMs"]]
    some = "steps" in summary["shed"]  # so many that not all of them were kept: nobody knows the numbers any more
    kept = (
        "id",
        "name",
        "mode",
        "status",
        "verdict",
        "reason",
        "targets",
        "maxNodes",
        "disarmed",
        "submittedMs",
        "startedMs",
    )
    return {
        **{key: summary[key] for key in kept},
        "description": "",
        "final": summary["status"],
        "endedMs": summary["endedMs"],
        "deadlineMs": 0,
        "stepCount": 0 if some else len(steps),
        "currentStep": 0 if some else max(begun, default=0),
        "progress": 1.0,
        "nodes": summary["nodes"],
        "outcomes": summary["outcomes"],
        "nodesOmitted": summary["nodesOmitted"],
        "shed": summary["shed"],
        "steps": steps,
        "nowMs": now_ms,
    }


def _ended_run(run_id: RunId, run: Mapping[str, Any]) -> Json:
    return {
        "id": run["id"],
        "iteration": run_id.iteration,
        "node": run["node"],
        "attempt": run_id.attempt,
        "status": run["status"],
        "targets": [],
        "plannedMs": 0,
        "grantedMs": run["grantedMs"],
        "activeMs": run["activeMs"],
        "endedMs": run["endedMs"],
        "durationSeconds": 0.0,
        "reason": run["reason"],
        "effects": run["effects"],
    }


def task_row(task: Task, runs: Sequence[Run], now_ms: int) -> Json:
    """A task in a list: everything but its steps."""
    return {
        "id": task.id,
        "name": task.orchestration.name,
        "description": task.orchestration.description,
        "mode": str(task.orchestration.mode),
        "status": str(task.status),
        "final": None if task.final is None else str(task.final),
        "verdict": None,
        "reason": task.reason,
        "targets": list(task.targets),
        "maxNodes": task.max_nodes,
        "disarmed": task.orchestration.disarmed,
        "submittedMs": task.submitted_ms,
        "startedMs": task.started_ms,
        "endedMs": 0,
        "deadlineMs": task.deadline_ms,
        "stepCount": len(task.orchestration.steps),
        "currentStep": current_step(task, runs),
        "progress": round(share_behind(task, runs, now_ms), 4),
    }


def run_view(run: Run) -> Json:
    """A run."""
    return {
        "id": str(run.id),
        "iteration": run.id.iteration,
        "node": run.node,
        "attempt": run.id.attempt,
        "status": str(run.status),
        "targets": list(run.targets),
        "plannedMs": run.planned_ms,
        "grantedMs": run.granted_ms,
        "activeMs": run.active_ms,
        "endedMs": run.ended_ms,
        "durationSeconds": run.duration_seconds,
        "reason": run.reason,
        "effects": [dict(effect) for effect in run.effects],
    }


def proxy_view(node: str, proxy: ProxyRecord) -> Json:
    """A proxy of the node, with its counters."""
    stats = {_camel(key): value for key, value in proxy.stats.items()}
    view: Json = {"node": node, "name": proxy.name, "listen": proxy.listen, "upstream": proxy.upstream, "stats": stats}
    return {**view, "certificate": proxy.certificate} if proxy.certificate else view


def seen_fault_view(fault: SeenFault) -> Json:
    """A fault that is on, or should be."""
    return {
        "run": fault.run,
        "fault": fault.fault,
        "target": fault.target,
        "origin": fault.origin,
        "journal": fault.journal,
        "mark": fault.mark,
        "effect": dict(fault.effect),
    }


def fault_type_view(fault: FaultType) -> Json:
    """A type of fault, with the JSON schema of its parameters."""
    return {
        "type": fault.type,
        "kind": fault.kind,
        "summary": fault.summary,
        "needs": list(fault.needs),
        "protocol": fault.protocol,
        "recoverySeconds": fault.recovery_seconds,
        "parameters": fault.parameters.model_json_schema(by_alias=True),
    }


def problem_view(spec_code: str, status: int, title: str, detail: str, hint: str, details: Mapping[str, Any]) -> Json:
    """The fixed part of a problem+json answer (RFC 9457)."""
    return {
        "type": f"urn:raftchaos:problem:{spec_code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": spec_code,
        "hint": hint,
        "details": dict(details),
    }


def _camel(word: str) -> str:
    head, *rest = word.split("_")
    return head + "".join(part.capitalize() for part in rest)

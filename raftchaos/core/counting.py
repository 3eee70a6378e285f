"""Which runs may be under their fault, and whether one more may start: the blast radius, checked in one place."""

from __future__ import annotations

from collections.abc import Sequence

from raftchaos.core.answers import listing
from raftchaos.core.state import ClusterState
from raftchaos.model.resolved import CoordinationMode
from raftchaos.model.runs import Run
from raftchaos.model.tasks import Task, TaskStatus


def counted(state: ClusterState) -> list[Run]:
    """The runs that count for limits, targets and sequential: live ones, and those that were not recovered."""
    return [run for run in state.runs.values() if run.live] + list(state.unrecovered.values())


def nodes_of(runs: Sequence[Run]) -> set[str]:
    """The nodes that these runs are on."""
    return {run.node for run in runs}


def types_of(state: ClusterState, run: Run) -> frozenset[str]:
    """The types of the faults of a run; empty if its task is not known any more."""
    task = state.tasks.get(run.id.task)
    steps = () if task is None else task.orchestration.steps
    return frozenset(fault.type for step in steps[run.id.step : run.id.step + 1] for fault in step.faults)


def must_wait(state: ClusterState, task: Task, run: Run, node: str, targets: Sequence[str]) -> str:
    """Why a run may not start on this node now though it may later; empty if it may start.

    No running task may see more nodes under faults than its limit, counting every node that may still be under one;
    no two runs share a target for a fault of the same type; a sequential task is on one node at a time.
    """
    runs = counted(state)
    under = nodes_of(runs) | {node}
    running = [state.tasks[key] for key in sorted(state.tasks) if state.tasks[key].status is TaskStatus.RUNNING]
    tight = [item for item in running if len(under) > item.max_nodes]
    if tight:
        return f"limit: {len(under)} nodes would be under faults, the task {tight[0].id} allows {tight[0].max_nodes}"
    types = types_of(state, run)
    taken = {
        target
        for other in runs
        if other.node == node and not types.isdisjoint(types_of(state, other) or types)
        for target in other.targets
    }
    shared = sorted(taken.intersection(targets))
    if shared:
        return f"overlapping target: another run does the same to {listing(shared, 3)} of {node}"
    mine = [other for other in runs if other.id.task == task.id]
    elsewhere = sorted(nodes_of(mine) - {node})
    if task.orchestration.mode is CoordinationMode.SEQUENTIAL and elsewhere:
        return f"sequential: the task still has a run on {elsewhere[0]}"
    if any(other.id.step == run.id.step and other.node == node and other.live for other in mine):
        return f"{node} has a run of this step already"
    return ""

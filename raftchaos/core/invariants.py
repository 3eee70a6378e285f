"""What must be true of every state, whatever was applied. Checked after every command in tests and simulations, now
and then in production."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from raftchaos import limits
from raftchaos.core.counting import counted, nodes_of, types_of
from raftchaos.core.progress import slot_of
from raftchaos.core.state import ClusterState
from raftchaos.model.nodes import NodeStatus
from raftchaos.model.resolved import CoordinationMode
from raftchaos.model.runs import ANY_NODE, Run, RunStatus
from raftchaos.model.tasks import Task, TaskStatus

_STARTED = (RunStatus.GRANTED, RunStatus.ACTIVE)


def check(state: ClusterState) -> list[str]:
    """Every rule that the state breaks, as text; empty if it is sound."""
    return [*belongs(state), *_nodes(state), *_limits(state), *_tasks(state), *_halts(state), *_bounds(state)]


def belongs(state: ClusterState) -> list[str]:
    """Whether every part refers to parts that are there: what a snapshot must fulfil to be believed."""
    return [*_keys(state), *_references(state)]


def _keys(state: ClusterState) -> Iterator[str]:
    tables: Iterable[tuple[str, dict[object, object]]] = (
        ("node", {key: node.name for key, node in state.nodes.items()}),
        ("task", {key: task.id for key, task in state.tasks.items()}),
        ("run", {key: run.id for key, run in state.runs.items()}),
        ("unrecovered run", {key: run.id for key, run in state.unrecovered.items()}),
        ("halt", {key: record.id for key, record in state.halts.items()}),
    )
    for kind, table in tables:
        yield from (f"the {kind} {key} calls itself {value}" for key, value in table.items() if key != value)
    if state.access.signer and state.access.signer not in state.access.authorities:
        yield "the CA that signs is none that is trusted"
    yield from (f"the task {key} is unfinished and finished" for key in sorted(state.tasks) if key in state.finished)
    yield from (f"the halt {key} is lifted and in force" for key in sorted(state.halts) if key in state.lifted)


def _references(state: ClusterState) -> Iterator[str]:
    for key in sorted(state.runs):
        run, task = state.runs[key], state.tasks.get(key.task)
        if task is None:
            yield f"the run {key} belongs to no unfinished task"
        elif not 0 <= key.step < len(task.orchestration.steps):
            yield f"the run {key} belongs to no step"
        elif run.node != ANY_NODE and run.node not in task.targets:
            yield f"the run {key} is on {run.node}, which is no target"
        elif key.node != ANY_NODE and key.node != run.node:
            yield f"the run {key} is on {run.node}"
    for key in sorted(state.unrecovered):
        run = state.unrecovered[key]
        if run.status is not RunStatus.RECOVERY_FAILED:
            yield f"the unrecovered run {key} is {run.status}"
        if run.node not in state.nodes:
            yield f"the unrecovered run {key} is on {run.node}, which is no node"


def _nodes(state: ClusterState) -> Iterator[str]:
    for key in sorted(state.runs):
        run = state.runs[key]
        if not run.live:
            continue
        node = state.nodes.get(run.node)
        if node is None or node.incarnation != run.incarnation:
            yield f"the run {key} is {run.status} on a start of {run.node} that is not registered"
        elif node.status is NodeStatus.FAILED:
            yield f"the run {key} is {run.status} on {run.node}, which is failed"
        if not run.granted_ms:
            yield f"the run {key} is {run.status} and was never granted"


def _limits(state: ClusterState) -> Iterator[str]:
    """G5 and G7: one node a sequential task, no two runs do the same to one target, no limit exceeded.

    A limit is judged for the tasks that have faults of their own: the others only wait.
    """
    runs = counted(state)
    under = nodes_of(runs)
    for key in sorted(state.tasks):
        task = state.tasks[key]
        mine = [run for run in runs if run.id.task == key]
        started = any(run.status in _STARTED for run in mine)
        if task.status is TaskStatus.RUNNING and started and len(under) > task.max_nodes:
            yield f"{len(under)} nodes are under faults, the task {key} allows {task.max_nodes}"
        if task.orchestration.mode is CoordinationMode.SEQUENTIAL and len(nodes_of(mine)) > 1:
            yield f"the sequential task {key} is on {sorted(nodes_of(mine))}"
    taken: dict[tuple[str, str, str], str] = {}
    for run in sorted(runs, key=lambda run: run.id):
        for target, fault in product(run.targets, sorted(types_of(state, run))):
            other = taken.setdefault((run.node, target, fault), str(run.id))
            if other != str(run.id):
                yield f"{target} of {run.node} is under {fault} of {other} and {run.id}"


def _tasks(state: ClusterState) -> Iterator[str]:
    of: dict[str, list[Run]] = {key: [] for key in state.tasks}
    for run in state.runs.values():
        of.get(run.id.task, []).append(run)
    for key in sorted(state.tasks):
        yield from _task(state.tasks[key], sorted(of[key], key=lambda run: run.id))


def _task(task: Task, runs: list[Run]) -> Iterator[str]:
    statuses = {run.status for run in runs}
    waiting = {RunStatus.PLANNED, RunStatus.GRANTED, RunStatus.ACTIVE}
    if task.status in (TaskStatus.PAUSED, TaskStatus.RECOVERING, TaskStatus.PENDING) and statuses & waiting:
        yield f"the task {task.id} is {task.status} and has runs that are {sorted(statuses & waiting)}"
    if not task.unfinished:
        yield f"the task {task.id} is {task.status} and among the unfinished"
    if (task.status is TaskStatus.RECOVERING) is not (task.final is not None):
        yield f"the task {task.id} is {task.status} and is to end as {task.final}"
    open_slots: set[tuple[int, str]] = set()
    nodes: set[tuple[int, str]] = set()
    for run in runs:
        if run.ended:
            continue
        place = (run.id.step, slot_of(task, run.id))
        if place in open_slots:
            yield f"the task {task.id} has two open runs at {place}"
        open_slots.add(place)
        if run.live and (run.id.step, run.node) in nodes:
            yield f"the task {task.id} has two live runs of the step {run.id.step} on {run.node}"
        if run.live:
            nodes.add((run.id.step, run.node))


def _halts(state: ClusterState) -> Iterator[str]:
    if not state.halted:
        return
    for key in sorted(state.tasks):
        if state.tasks[key].status is not TaskStatus.RECOVERING:
            yield f"the cluster is halted and the task {key} is {state.tasks[key].status}"


def _bounds(state: ClusterState) -> Iterator[str]:
    bounds = (
        ("nodes", len(state.nodes), limits.NODES),
        ("unfinished tasks", len(state.tasks), limits.TASKS_UNFINISHED),
        ("finished tasks", len(state.finished), limits.TASKS_FINISHED),
        ("forgotten tasks", len(state.forgotten), limits.TASK_IDS_REMEMBERED),
        ("halts", len(state.halts), limits.HALTS),
        ("lifted halts", len(state.lifted), limits.HALTS_LIFTED),
        ("API tokens", len(state.access.tokens), limits.API_TOKENS),
        ("join tokens", len(state.access.joins), limits.JOIN_TOKENS),
        ("trusted CAs", len(state.access.authorities), 2),
        ("revoked data directories", len(state.access.revoked), limits.REVOKED),
    )
    yield from (f"{found} {what}, at most {most}" for what, found, most in bounds if found > most)
    yield from (
        f"the finished task {key} takes {len(data)} bytes"
        for key, data in state.finished.items()
        if len(data) > limits.TASK_ENCODED
    )

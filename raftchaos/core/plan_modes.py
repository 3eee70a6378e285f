"""What comes next in a running task, mode by mode: the planner's decisions about runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from raftchaos.core import capability, reasons, timing
from raftchaos.core.commands import Command, FinishTask, PlanRuns, SkipRun, WindDownTask
from raftchaos.core.progress import FAILING, Progress, SlotState
from raftchaos.core.state import ClusterState
from raftchaos.core.verdict import step_failure
from raftchaos.model.nodes import Node, NodeStatus
from raftchaos.model.resolved import CoordinationMode
from raftchaos.model.runs import ANY_NODE
from raftchaos.model.tasks import TaskStatus


@dataclass(slots=True)
class Round:
    """One look of the leader at the whole state."""

    state: ClusterState
    now_ms: int
    load: dict[str, int] = field(default_factory=dict)
    """How many runs each node has, those included that this round gives it."""


def next_commands(round_: Round, progress: Progress) -> list[Command]:
    """The commands that move a running task on; none while it waits."""
    return _MODES[progress.task.orchestration.mode](round_, progress)


def unable(nodes: Mapping[str, Node], name: str) -> str:
    """Why a run for this node will certainly not take place; empty if it may. A degraded node may soon be well."""
    node = nodes.get(name)
    if node is None:
        return reasons.NODE_REMOVED
    if node.status is NodeStatus.FAILED:
        return reasons.NODE_FAILED
    return reasons.NODE_DRAINED if node.drained else ""


def _parallel(round_: Round, progress: Progress) -> list[Command]:
    """Every target runs each step at the same time; the next step begins when all of them have ended."""
    return _steps(round_, progress, lambda _step, slot: slot, frozenset({SlotState.FAILED}))


def _leader_assigned(round_: Round, progress: Progress) -> list[Command]:
    """Each step goes to one capable node, the least loaded; after a loss to another one."""
    return _steps(round_, progress, lambda step, slot: _least_loaded(round_, progress, step, slot), FAILING)


def _peer_to_peer(round_: Round, progress: Progress) -> list[Command]:
    """Each step is offered; nodes ask for it themselves."""
    return _steps(round_, progress, lambda _step, _slot: ANY_NODE, FAILING)


def _steps(
    round_: Round, progress: Progress, node_for: Callable[[int, str], str], stopping: frozenset[SlotState]
) -> list[Command]:
    """Step after step with a barrier between them. A slot in a `stopping` state ends the task unless the step says
    `continueOnFailure`."""
    for index in range(len(progress.task.orchestration.steps)):
        states = progress.states(index)
        ended = _stop(round_, progress, index, states, stopping)
        if ended:
            return ended
        due = [slot for slot, state in states.items() if state in (SlotState.EMPTY, SlotState.AGAIN)]
        if due:
            fresh = all(state is SlotState.EMPTY for state in states.values())
            if fresh and not _delay_is_over(round_, progress, index, _step_before(progress, index)):
                return []
            return _plan(round_, progress, [(index, slot, node_for(index, slot)) for slot in due])
        if SlotState.OPEN in states.values():
            return []
    return _finish(round_, progress)


def _sequential(round_: Round, progress: Progress) -> list[Command]:
    """One node at a time, in name order, runs the whole list. The list of a lost node is not moved to another one."""
    previous = 0
    for node in progress.task.targets:
        for index in range(len(progress.task.orchestration.steps)):
            state = progress.state(index, node)
            ended = _stop(round_, progress, index, {node: state}, frozenset({SlotState.FAILED}))
            if ended:
                return ended
            if state is SlotState.OPEN:
                return []
            if state is SlotState.AGAIN:
                return _plan(round_, progress, [(index, node, node)])
            if state is SlotState.EMPTY:
                if unable(round_.state.nodes, node) or _delay_is_over(round_, progress, index, previous):
                    return _plan(round_, progress, [(index, node, node)])
                return []
            previous = max(previous, progress.attempts(index, node)[-1].ended_ms)
            if state in (SlotState.LOST, SlotState.SKIPPED):
                break
    return _finish(round_, progress)


_MODES: dict[CoordinationMode, Callable[[Round, Progress], list[Command]]] = {
    CoordinationMode.PARALLEL: _parallel,
    CoordinationMode.SEQUENTIAL: _sequential,
    CoordinationMode.LEADER_ASSIGNED: _leader_assigned,
    CoordinationMode.PEER_TO_PEER: _peer_to_peer,
}


def _stop(
    round_: Round, progress: Progress, step: int, states: Mapping[str, SlotState], stopping: frozenset[SlotState]
) -> list[Command]:
    """The end of the task if this step has failed and may not."""
    task = progress.task
    if task.orchestration.steps[step].continue_on_failure:
        return []
    for slot, state in states.items():
        if state in stopping:
            reason = f"{reasons.STEP_FAILED}: {step_failure(progress, step, slot, state)}"
            return [WindDownTask(round_.state.term, task.id, str(TaskStatus.FAILED), reason)]
    return []


def _finish(round_: Round, progress: Progress) -> list[Command]:
    return [FinishTask(round_.state.term, progress.task.id)] if progress.all_ended else []


def _plan(round_: Round, progress: Progress, due: list[tuple[int, str, str]]) -> list[Command]:
    """Plan the next attempts of slots, each a step, a slot and a node. What a node certainly cannot take is planned
    all the same and skipped at once, so that the report says what happened on each node."""
    term, task = round_.state.term, progress.task
    planned: list[tuple[str, float]] = []
    skipped: list[Command] = []
    assigned = task.orchestration.mode is CoordinationMode.LEADER_ASSIGNED
    for step, slot, node in due:
        run, seconds = progress.next_run(step, slot, node)
        planned.append((str(run), seconds))
        if node != ANY_NODE:
            round_.load[node] = round_.load.get(node, 0) + 1
        why = "" if assigned or node == ANY_NODE else unable(round_.state.nodes, node)
        if why:
            skipped.append(SkipRun(term, str(run), why))
    return [PlanRuns(term, task.id, planned), *skipped]


def _step_before(progress: Progress, step: int) -> int:
    """When the step before this one ended; 0 for the first."""
    return progress.ended_ms(step - 1) if step else 0


def _delay_is_over(round_: Round, progress: Progress, step: int, before_ms: int) -> bool:
    """Whether `delayBeforeSeconds` have passed since what came before ended, or since the submit."""
    task = progress.task
    delay = task.orchestration.steps[step].delay_before_seconds
    return delay <= 0 or timing.seconds_since(round_.state, round_.now_ms, before_ms or task.submitted_ms) >= delay


def _least_loaded(round_: Round, progress: Progress, step: int, slot: str) -> str:
    """The node that gets a step: not the one that has just lost it if there is another, then the fewest runs, then
    the name. If no target can take it now, the first one that could: it may come back before the run is skipped."""
    task, nodes = progress.task, round_.state.nodes
    wanted = [task.orchestration.steps[step]]
    able = [name for name in task.targets if name in nodes and not capability.why_not(nodes[name], wanted)]
    candidates = [name for name in able if nodes[name].schedulable] or able or list(task.targets)
    attempts = progress.attempts(step, slot)
    lost_by = attempts[-1].node if attempts and attempts[-1].reason != reasons.PAUSED else ""
    return min(candidates, key=lambda name: (name == lost_by, round_.load.get(name, 0), name))

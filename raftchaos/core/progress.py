"""How far a task is, read from its runs.

A *slot* is a place that one run at a time fills: a step on a node (parallel, sequential), a step (leaderAssigned), or
one of the takers of a step (peerToPeer). The runs of a slot are its attempts, one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from raftchaos.core import reasons
from raftchaos.core.targeting import wanted_of
from raftchaos.model.resolved import CoordinationMode, ResolvedStep
from raftchaos.model.runs import ANY_NODE, Run, RunId, RunStatus
from raftchaos.model.tasks import Task

ITERATION: Final = 1
NOTHING_LEFT: Final = 0.1
"""Seconds: a paused run with no more left than this has done what it was to do."""

ASSIGNED: Final = frozenset({CoordinationMode.LEADER_ASSIGNED, CoordinationMode.PEER_TO_PEER})
"""Modes in which a run belongs to no node from the start, so that another one can take it up."""


class SlotState(StrEnum):
    """Where a slot is."""

    EMPTY = "empty"
    """Nothing was planned yet."""
    OPEN = "open"
    """Its last run has not ended."""
    AGAIN = "again"
    """A new attempt is due: it was paused, or lost with retries left."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The fault itself failed."""
    LOST = "lost"
    """Its node was lost, or nobody took it in time."""
    SKIPPED = "skipped"
    """Left out without being a failure, e.g. because its node was drained."""


FAILING: Final = frozenset({SlotState.FAILED, SlotState.LOST})


def takers(task: Task) -> int:
    """How many nodes take each step of a peerToPeer task."""
    wanted = wanted_of(task.orchestration.targets, len(task.targets))
    return max(1, wanted if wanted is not None else 1)


def slots(task: Task) -> tuple[str, ...]:
    """The slots of each step of a task, in the order in which they are planned."""
    mode = task.orchestration.mode
    if mode is CoordinationMode.LEADER_ASSIGNED:
        return ("",)
    if mode is CoordinationMode.PEER_TO_PEER:
        return tuple(str(place) for place in range(takers(task)))
    return task.targets


def slot_of(task: Task, run: RunId) -> str:
    """The slot that a run fills. In peerToPeer the attempts of k takers take turns: 1, k + 1, 2k + 1 are of one."""
    mode = task.orchestration.mode
    if mode is CoordinationMode.LEADER_ASSIGNED:
        return ""
    if mode is CoordinationMode.PEER_TO_PEER:
        return str((run.attempt - 1) % takers(task))
    return run.node


class Progress:
    """The runs of one task, sorted into slots."""

    def __init__(self, task: Task, runs: Iterable[Run]) -> None:
        self.task = task
        self.runs = sorted(runs, key=lambda run: run.id)
        self._slots: dict[tuple[int, str], list[Run]] = {}
        for run in sorted(self.runs, key=lambda run: run.id.attempt):
            self._slots.setdefault((run.id.step, slot_of(task, run.id)), []).append(run)

    def attempts(self, step: int, slot: str) -> Sequence[Run]:
        """The runs of a slot, first attempt first."""
        return self._slots.get((step, slot), ())

    def state(self, step: int, slot: str) -> SlotState:
        """Where a slot is."""
        return slot_state(self.task, self.task.orchestration.steps[step], self.attempts(step, slot))

    def states(self, step: int) -> dict[str, SlotState]:
        """Where each slot of a step is."""
        return {slot: self.state(step, slot) for slot in slots(self.task)}

    def next_run(self, step: int, slot: str, node: str) -> tuple[RunId, float]:
        """The id and the duration in seconds of the next attempt of a slot, on `node`."""
        attempts = self.attempts(step, slot)
        task = self.task
        if task.orchestration.mode is CoordinationMode.PEER_TO_PEER:
            node = ANY_NODE
            attempt = attempts[-1].id.attempt + takers(task) if attempts else int(slot) + 1
        else:
            attempt = attempts[-1].id.attempt + 1 if attempts else 1
        whole = task.orchestration.steps[step].duration_seconds
        return RunId(task.id, ITERATION, step, node, attempt), next_duration(attempts, whole)

    def ended_ms(self, step: int) -> int:
        """When the last run of a step ended; 0 if none did."""
        return max((run.ended_ms for run in self.runs if run.id.step == step), default=0)

    @property
    def all_ended(self) -> bool:
        """Whether no run is open."""
        return all(run.ended for run in self.runs)


def slot_state(task: Task, step: ResolvedStep, attempts: Sequence[Run]) -> SlotState:
    """Where a slot with these attempts is."""
    if not attempts:
        return SlotState.EMPTY
    last = attempts[-1]
    if not last.ended:
        return SlotState.OPEN
    if last.status in (RunStatus.SUCCEEDED, RunStatus.DONE):
        return SlotState.SUCCEEDED
    if last.status in (RunStatus.FAILED, RunStatus.RECOVERY_FAILED):
        return SlotState.FAILED
    if last.reason == reasons.PAUSED:
        return SlotState.AGAIN if seconds_left(last) > NOTHING_LEFT else SlotState.SUCCEEDED
    if last.status is RunStatus.SKIPPED and not _was_due(task, last):
        return SlotState.SKIPPED
    lost = sum(1 for run in attempts if run.reason != reasons.PAUSED)
    if may_have_happened(step, last):
        return SlotState.LOST
    if _may_move(task, last) and lost <= step.retries:
        return SlotState.AGAIN
    return SlotState.LOST


def may_have_happened(step: ResolvedStep, run: Run) -> bool:
    """Whether a lost run of a one-shot step may have been done: it was granted, and nobody could tell what became of
    it. It is never repeated."""
    lost = run.reason in (reasons.NODE_FAILED, reasons.RESTARTED)
    return step.one_shot and run.status is RunStatus.INTERRUPTED and lost


def seconds_left(run: Run) -> float:
    """What an interrupted run has left of its duration, in seconds."""
    if not run.active_ms:
        return run.duration_seconds
    return run.duration_seconds - max(run.ended_ms - run.active_ms, 0) / 1000


def next_duration(attempts: Sequence[Run], whole: float) -> float:
    """How long the next attempt lasts: what a pause left, or what the lost attempt was to last."""
    if not attempts:
        return whole
    last = attempts[-1]
    return seconds_left(last) if last.reason == reasons.PAUSED else last.duration_seconds


def _was_due(task: Task, run: Run) -> bool:
    """Whether a skipped run counts as lost."""
    if run.reason in reasons.LOST:
        return True
    return task.orchestration.mode is CoordinationMode.LEADER_ASSIGNED and run.reason == reasons.NODE_DRAINED


def _may_move(task: Task, run: Run) -> bool:
    """Whether another node may take the place of a lost run. An offer that nobody asked for is not made again."""
    mode = task.orchestration.mode
    if mode is CoordinationMode.PEER_TO_PEER:
        return run.status is RunStatus.INTERRUPTED
    return mode is CoordinationMode.LEADER_ASSIGNED

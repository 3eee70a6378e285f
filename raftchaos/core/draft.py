"""The next state in the making: what one command changes, and the events that tell of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from raftchaos import limits
from raftchaos.core import transitions
from raftchaos.core.answers import clip
from raftchaos.core.callers import Caller
from raftchaos.core.state import ClusterState, HaltRecord
from raftchaos.model.events import Event, EventType
from raftchaos.model.nodes import Node
from raftchaos.model.runs import Run, RunId, RunStatus
from raftchaos.model.tasks import Task, TaskStatus

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Context:
    """Where a command stands in the log."""

    index: int
    wall_ms: int
    """Read by the leader that appended it."""
    term: int
    """Of that leader."""
    caller: Caller | None = None
    """Who asked for it; None if a peer did by itself."""


class Table(Mapping[K, V], Generic[K, V]):
    """A dict of a published state that is copied on its first change."""

    __slots__ = ("_changed", "_items")

    def __init__(self, items: dict[K, V]) -> None:
        self._items = items
        self._changed = False

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def put(self, key: K, value: V) -> None:
        """Set an item; a new one comes last."""
        self._own()[key] = value

    def drop(self, key: K) -> None:
        """Take an item out, if it is there."""
        if key in self._items:
            del self._own()[key]

    def items_now(self) -> dict[K, V]:
        """The dict to publish."""
        return self._items

    def _own(self) -> dict[K, V]:
        if not self._changed:
            self._items = dict(self._items)
            self._changed = True
        return self._items


class Draft:
    """One command's changes. `base` is the state before it; `freeze` gives the one after it."""

    def __init__(self, base: ClusterState, context: Context) -> None:
        self.base = base
        self.context = context
        self.nodes: Table[str, Node] = Table(base.nodes)
        self.tasks: Table[str, Task] = Table(base.tasks)
        self.runs: Table[RunId, Run] = Table(base.runs)
        self.finished: Table[str, bytes] = Table(base.finished)
        self.forgotten: Table[bytes, None] = Table(base.forgotten)
        self.unrecovered: Table[RunId, Run] = Table(base.unrecovered)
        self.halts: Table[str, HaltRecord] = Table(base.halts)
        self.lifted: Table[str, None] = Table(base.lifted)
        self.completed: Table[str, int] = Table(base.completed)
        self.access = base.access
        self.leadership = (base.term, base.leader, base.leader_ms)
        self.events: list[Event] = []

    def tell(self, kind: EventType, data: dict[str, Any], *, task: str = "", run: str = "", node: str = "") -> None:
        """Record an event of this command, with who asked for it."""
        place = len(self.events)
        if self.context.caller is not None:
            data = {**data, "by": self.context.caller.to_dict()}
        self.events.append(Event(self.context.index, place, kind, self.context.wall_ms, task, run, node, data))

    def runs_of(self, task: str) -> list[Run]:
        """The runs of a task as they are now, sorted by id."""
        return [self.runs[key] for key in sorted(key for key in self.runs if key.task == task)]

    def plan_run(self, run: Run) -> None:
        """Add a new run."""
        transitions.check_run(None, transitions.PLAN, run.status)
        self.runs.put(run.id, run)
        self._tell_run(run, "")

    def move_run(self, run: Run, cause: str, after: RunStatus, **changes: Any) -> Run:
        """Move a run along the table. Raises `IllegalMove` if it may not go there."""
        transitions.check_run(run.status, cause, after)
        if "reason" in changes:
            changes["reason"] = clip(changes["reason"], limits.RUN_REASON)
        moved = dataclasses.replace(run, status=after, **changes)
        if moved.ended:
            # What it was done to matters only while it counts; without it a finished run is small.
            targets = moved.targets if after is RunStatus.RECOVERY_FAILED else ()
            moved = dataclasses.replace(moved, ended_ms=self.context.wall_ms, targets=targets)
        self.runs.put(run.id, moved)
        if after is RunStatus.RECOVERY_FAILED:
            self.unrecovered.put(run.id, moved)
        self._tell_run(moved, str(run.status))
        return moved

    def move_task(self, task: Task, cause: str, after: TaskStatus, **changes: Any) -> Task:
        """Move a task along the table. Raises `IllegalMove` if it may not go there."""
        transitions.check_task(task.status, cause, after)
        moved = dataclasses.replace(task, status=after, **changes)
        self.tasks.put(task.id, moved)
        data = {"from": str(task.status), "to": str(after), "reason": moved.reason}
        self.tell(EventType.TASK_STATUS, data, task=task.id)
        return moved

    def freeze(self) -> ClusterState:
        """The state after the command."""
        term, leader, leader_ms = self.leadership
        return ClusterState(
            nodes=self.nodes.items_now(),
            tasks=self.tasks.items_now(),
            runs=self.runs.items_now(),
            finished=self.finished.items_now(),
            forgotten=self.forgotten.items_now(),
            unrecovered=self.unrecovered.items_now(),
            halts=self.halts.items_now(),
            lifted=self.lifted.items_now(),
            term=term,
            leader=leader,
            leader_ms=leader_ms,
            completed=self.completed.items_now(),
            access=self.access,
        )

    def _tell_run(self, run: Run, before: str) -> None:
        data: dict[str, Any] = {"from": before, "to": str(run.status), "step": run.id.step, "reason": run.reason}
        if run.effects:
            data["effects"] = [dict(effect) for effect in run.effects]
        self.tell(EventType.RUN_STATUS, data, task=run.id.task, run=str(run.id), node=run.node)

"""Counts what happens: events by type, and steps that fail."""

from __future__ import annotations

from raftchaos.core.meter import Meter
from raftchaos.core.progress import FAILING, Progress
from raftchaos.core.state import ClusterState
from raftchaos.model.events import Event, EventType
from raftchaos.model.runs import RunId


class LiveEvents:
    """Takes every event that is applied while the peer runs; what a start replays was counted when it happened."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._failed: dict[str, set[int]] = {}  # steps that were counted, by unfinished task

    def on_event(self, event: Event, state: ClusterState) -> None:
        """Count the event; `state` is the one that it led to."""
        self._meter.event(event.type)
        if event.type is EventType.RUN_STATUS and event.run:
            self._look_at_step(event.task, RunId.parse(event.run).step, state)
        elif event.type is EventType.TASK_STATUS and event.task not in state.tasks:
            self._failed.pop(event.task, None)

    def _look_at_step(self, task_id: str, step: int, state: ClusterState) -> None:
        task = state.tasks.get(task_id)
        counted = self._failed.get(task_id, set())
        if task is None or step in counted:
            return
        states = Progress(task, state.runs_of(task_id)).states(step)
        if any(found in FAILING for found in states.values()):
            self._failed.setdefault(task_id, set()).add(step)
            self._meter.step_failed()

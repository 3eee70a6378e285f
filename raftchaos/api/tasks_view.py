"""Tasks as the API shows them, whether they have ended or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from raftchaos.api.views import ended_view, task_row, task_view
from raftchaos.core.history import load
from raftchaos.core.preview import preview
from raftchaos.core.state import ClusterState
from raftchaos.errors import NotFound, UsageError
from raftchaos.model.problems import nearest
from raftchaos.model.resolved import ResolvedOrchestration
from raftchaos.model.runs import Run

Json = dict[str, Any]


def find_task(state: ClusterState, task: str, now_ms: int) -> Json:
    """A task with its steps and runs. Raises NotFound."""
    if task in state.tasks:
        return task_view(state.tasks[task], state.runs_of(task), now_ms)
    if task in state.finished:
        return ended_view(load(state.finished[task]), now_ms)
    meant = nearest(task, [*state.tasks, *reversed(state.finished)])
    hint = f"did you mean {meant}?" if meant else "`raftchaos task list` shows the tasks"
    raise NotFound(f"there is no task {task[:100]!r}", hint=hint)


def page_of_tasks(state: ClusterState, limit: int, after: str, now_ms: int) -> tuple[list[Json], str]:
    """At most `limit` tasks that follow the task `after` (empty: from the first), and the id to go on after, if any.

    Unfinished tasks come first, then those that have ended; the newest first in both.
    """
    order = _order(state)
    if after:
        if after not in order:
            raise UsageError(f"found after={after[:100]!r}, expected the id of a task", hint="begin without `after`")
        order = order[order.index(after) + 1 :]
    chosen = order[:limit]
    runs: dict[str, list[Run]] = {task: [] for task in chosen}
    for run in state.runs.values():
        if run.id.task in runs:
            runs[run.id.task].append(run)
    return list(_rows(state, runs, now_ms)), chosen[-1] if len(order) > limit else ""


def preview_view(state: ClusterState, orchestration: ResolvedOrchestration, now_ms: int) -> Json:
    """What a submit would do now."""
    return dict(preview(state, orchestration, now_ms))


def _order(state: ClusterState) -> list[str]:
    unfinished = sorted(state.tasks.values(), key=lambda task: (-task.submitted_ms, task.id))
    return [*(task.id for task in unfinished), *reversed(state.finished)]


def _rows(state: ClusterState, runs: dict[str, list[Run]], now_ms: int) -> Iterator[Json]:
    for task, its_runs in runs.items():
        if task in state.tasks:
            yield task_row(state.tasks[task], its_runs, now_ms)
        else:
            yield {
                key: value for key, value in ended_view(load(state.finished[task]), now_ms).items() if key != "steps"
            }

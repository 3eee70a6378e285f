"""A saved state as the beginning of a new cluster: what belonged to the old cluster's peers is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from raftchaos.core import commands, reasons, snapshot
from raftchaos.core.access import Access
from raftchaos.core.apply_tasks import finish, wind_down
from raftchaos.core.draft import Context, Draft
from raftchaos.core.progress import Progress
from raftchaos.core.requests import RequestWindow
from raftchaos.core.verdict import conclude
from raftchaos.model.runs import RunStatus
from raftchaos.model.tasks import TaskStatus

REASON: Final = "halted: the cluster was restored from a backup"


@dataclass(frozen=True, slots=True)
class Restored:
    """The state that a new cluster begins with."""

    state: bytes
    """A snapshot."""
    index: int
    """The Raft index that it belongs to: one after that of the saved state."""
    ended: tuple[str, ...]
    """Ids of the tasks that were unfinished."""
    dropped: tuple[str, ...]
    """Names of the nodes that were in it."""


def restored(data: bytes, wall_ms: int) -> Restored:
    """What a new cluster begins with. Raises ValueError if the saved state is not believable.

    Every node is dropped: whoever takes part registers anew. Unfinished tasks end as halted (or as what they were
    ending as), and say why. History, halts in force and the ids of earlier tasks are kept; tokens and CAs are those of
    the old cluster, and are dropped.
    """
    saved = snapshot.unpack(data)
    index = saved.applied + 1
    draft = Draft(saved.state, Context(index, wall_ms, 0))
    unfinished = tuple(sorted(draft.tasks))
    for key in unfinished:
        _end(draft, key)
    nodes = tuple(sorted(draft.nodes))
    for run in sorted(draft.unrecovered):
        draft.unrecovered.drop(run)
    for name in nodes:
        draft.nodes.drop(name)
    draft.leadership = (0, "", 0)
    draft.access = Access()
    state = draft.freeze()
    return Restored(snapshot.pack(snapshot.Snapshot(index, state, RequestWindow())), index, unfinished, nodes)


def _end(draft: Draft, key: str) -> None:
    task = draft.tasks[key]
    if task.status is not TaskStatus.RECOVERING:
        wind_down(draft, task, commands.Halt.kind, TaskStatus.HALTED, REASON, reasons.HALTED)
    for run in draft.runs_of(key):
        if run.live:
            draft.move_run(run, commands.NodeFailed.kind, RunStatus.INTERRUPTED, reason=reasons.NODE_FAILED)
    task = draft.tasks[key]
    finish(draft, task, commands.FinishTask.kind, conclude(Progress(task, draft.runs_of(key))))

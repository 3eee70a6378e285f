"""Halt and resume."""

from __future__ import annotations

from raftchaos import limits
from raftchaos.core import answers, commands, reasons
from raftchaos.core.answers import Answer
from raftchaos.core.apply_tasks import wind_down
from raftchaos.core.draft import Draft
from raftchaos.core.state import HaltRecord
from raftchaos.model.events import EventType
from raftchaos.model.tasks import TaskStatus


def halt(draft: Draft, command: commands.Halt) -> Answer:
    """Stop everything. A halt that was lifted, or that is in force, changes nothing."""
    if not 0 < len(command.id.encode()) <= limits.TASK_ID:
        return answers.refuse(answers.USAGE, f"found a bad id of a halt, expected 1 to {limits.TASK_ID} bytes")
    if command.id in draft.lifted:
        return answers.ok(id=command.id, lifted=True)
    if command.id in draft.halts:
        return answers.ok(id=command.id, existing=True)
    if len(draft.halts) >= limits.HALTS:
        return answers.refuse(answers.REFUSED, f"{len(draft.halts)} halts are in force already")
    reason = answers.clip(command.reason, limits.REASON)
    origin = answers.clip(command.origin, limits.NAME)
    draft.halts.put(command.id, HaltRecord(command.id, reason, origin, draft.context.wall_ms))
    draft.tell(EventType.HALTED, {"id": command.id, "reason": reason}, node=origin)
    text = f"halted: {reason}" if reason else "halted"
    for key in sorted(draft.tasks):
        task = draft.tasks[key]
        if task.status is not TaskStatus.RECOVERING:
            wind_down(draft, task, command.kind, TaskStatus.HALTED, text, reasons.HALTED)
    return answers.ok(id=command.id)


def resume(draft: Draft, command: commands.Resume) -> Answer:
    """Lift the named halts; others stay. Halted tasks are not taken up again."""
    lifted = sorted({name for name in command.halts if name in draft.halts})
    for name in lifted:
        draft.halts.drop(name)
        draft.lifted.put(name, None)
    while len(draft.lifted) > limits.HALTS_LIFTED:
        draft.lifted.drop(next(iter(draft.lifted)))
    if lifted:
        draft.tell(EventType.RESUMED, {"halts": lifted, "remaining": len(draft.halts)})
    return answers.ok(lifted=lifted[:20], remaining=sorted(draft.halts)[:20])

"""Waits for a task, and says how to end it when the person stops waiting."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raftchaos.cli.display import task_display
from raftchaos.errors import ErrorSpec, RaftchaosError, Unreachable

if TYPE_CHECKING:
    from raftchaos.client import Client


class WaitedTooLong(RaftchaosError):
    """The task had not ended when the time to wait was over; it goes on."""

    spec = ErrorSpec("waited-too-long", 504, 4, False, "the task goes on; `raftchaos task watch TASK` waits again")


def waited_too_long(task: str, timeout: float | None, others: Sequence[str] = ()) -> WaitedTooLong:
    """The error for a task that had not ended after `timeout` seconds, and for `others` that were not waited for."""
    return WaitedTooLong(
        f"the task {task} had not ended after {timeout:g} s",
        hint=_goes_on(task, others),
        details={"task": task, "others": list(others)},
    )


def _goes_on(task: str, others: Sequence[str]) -> str:
    told = f"it goes on: `raftchaos task watch {task}` waits again, `raftchaos task cancel {task}` ends it"
    return f"{told}; so do {', '.join(others)}, which were not waited for" if others else told


async def wait_for(client: Client, task: str, timeout: float | None, others: Sequence[str] = ()) -> dict[str, Any]:
    """Shows the task while it goes on and returns it once it has ended.

    Raises `WaitedTooLong` after `timeout` seconds. The task goes on when the wait is broken off, and the person is
    told so; `others` are tasks that would have been waited for next.
    """
    try:
        with task_display() as display:
            view: dict[str, Any] = await client.wait(task, timeout=timeout, on_update=display.update)
            return view
    except TimeoutError:
        raise waited_too_long(task, timeout, others) from None
    except Unreachable as error:
        raise Unreachable(
            error.message, hint=_goes_on(task, others), details={**error.details, "task": task}
        ) from error
    except asyncio.CancelledError:
        for one in (task, *others):
            print(f"the task goes on; to end it: raftchaos task cancel {one}", file=sys.stderr, flush=True)
        raise

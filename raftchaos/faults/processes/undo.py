"""The undo steps of the faults of processes. The reaper imports this: standard library only."""

from __future__ import annotations

import signal
from typing import Any

from raftchaos.faults.processes.proc import Handle
from raftchaos.faults.undo_plan import StepFailed


def resume(step: dict[str, Any]) -> dict[str, int]:
    """Let a stopped process go on: `pid` and `start` name it. One that is gone, or runs, is a success.

    SIGCONT is sent also to one that runs: it may wait for a disk, and not have taken its SIGSTOP yet.
    """
    with Handle(int(step["pid"]), int(step["start"])) as handle:
        found = handle.look()
        if found is None:
            return {}
        try:
            handle.send(signal.SIGCONT)
        except PermissionError:
            raise StepFailed(f"process {found} may not be continued: it lacks the capability CAP_KILL") from None
    return {"signalled": 1, "touched": 1} if found.stopped else {}

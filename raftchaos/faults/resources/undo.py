"""The undo steps of the faults of resources. The reaper imports this: standard library only."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
from pathlib import Path
from typing import Any, Final

from raftchaos.faults.processes.proc import Handle
from raftchaos.faults.resources import counts, groups, io_limits, marks
from raftchaos.faults.undo_plan import StepFailed

_ENDS_WITHIN: Final = 1.0
"""Seconds for the memory of a killed process to be given back; tried again after it."""


def end(step: dict[str, Any]) -> dict[str, int]:
    """End a load: kill what bears its `token` or is in its `cgroup`, remove the `files` that it has made, and its own
    `folder`. Returns what the load counted."""
    left = marks.end_bearers(str(step["token"]), _ENDS_WITHIN)
    groups.kill(str(step["cgroup"]))  # what is in it without our mark, if anything
    if left:
        raise StepFailed(f"the processes {', '.join(map(str, left))} of a load do not end")
    folder = Path(str(step["folder"]))
    effect = dict(counts.read(folder).effect)
    try:
        for path in step["files"]:
            _remove(str(path))
        groups.remove(str(step["cgroup"]))
        _remove(str(folder))
    except OSError as error:
        raise StepFailed(f"what a load has made cannot be removed: {error}") from None
    return effect


def restore_io(step: dict[str, Any]) -> dict[str, int]:
    """Give a control group (`group`, its folder) its limits of one disk (`device`) back: `before` are the words that
    stood there. Returns what it read and wrote since. A group or a disk that is gone is a success."""
    group, device = Path(str(step["group"])), str(step["device"])
    try:
        effect = io_limits.passed(group, device, dict(step["passed"]))
        io_limits.write(group, device, dict(step["before"]))
    except FileNotFoundError:
        return {}
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENXIO) or not group.is_dir():
            return {}
        raise StepFailed(f"the limits of {group} cannot be taken back: {error}") from None
    return effect


def restore_files(step: dict[str, Any]) -> dict[str, int]:
    """Give a process (`pid`, `start`) its soft limit of open files (`soft`) back, unless somebody has raised it since.
    A process that is gone is a success."""
    with Handle(int(step["pid"]), int(step["start"])) as handle:
        if handle.look() is None:
            return {}
        try:
            soft, hard = resource.prlimit(handle.pid, resource.RLIMIT_NOFILE)
            before = min(int(step["soft"]), hard)
            if soft >= before:
                return {}
            resource.prlimit(handle.pid, resource.RLIMIT_NOFILE, (before, hard))
        except ProcessLookupError:
            return {}
        except OSError as error:
            raise StepFailed(f"process {handle.pid} cannot be given its limit of files back: {error}") from None
    return {"limited": 1, "touched": 1}


def _remove(path: str) -> None:
    """A file or a folder of ours; it may be gone, it may have been begun only."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

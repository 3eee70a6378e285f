"""The undo steps of the faults of resources. The reaper imports this: standard library only."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
from collections.abc import Container
from pathlib import Path
from typing import Any, Final

from raftchaos.faults.processes.proc import Handle, family
from raftchaos.faults.resources import counts, groups, io_limits, marks
from raftchaos.faults.undo_plan import StepFailed

_ENDS_WITHIN: Final = 1.0
"""Seconds for the memory of a killed process to be given back; tried again after it."""
_FAMILY_PASSES: Final = 20
"""How often the processes that one has started are looked for; each time finds those that were just being started."""


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


def note_lowered(step: dict[str, Any], soft: int) -> None:
    """Keep a soft limit that a process is about to get, in the file `lowered` of the undo step: what the process starts
    inherits it. Raises OSError."""
    path = Path(str(step["lowered"]))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(f"{soft}\n")


def restore_files(step: dict[str, Any]) -> dict[str, int]:
    """Give a process (`pid`, `start`, `session`) its soft limit of open files (`soft`) back, unless somebody has raised
    it since; and to those that it has started meanwhile, which have exactly a limit that the file `lowered` names. A
    process that is gone is a success."""
    pid, start, soft = int(step["pid"]), int(step["start"]), int(step["soft"])
    limited = _raise_files(pid, start, soft, range(soft))
    path = Path(str(step["lowered"]))
    if path.exists():
        lowered = {int(word) for word in path.read_text().split()}
        if not any(_family_is_free(step, soft, lowered) for _ in range(_FAMILY_PASSES)):
            raise StepFailed(f"what process {pid} has started gets its lowered limit of files again and again")
        path.unlink(missing_ok=True)
    return {"limited": 1, "touched": 1} if limited else {}


def _family_is_free(step: dict[str, Any], soft: int, lowered: Container[int]) -> bool:
    """Raise the limits of what a process has started; whether none had to be."""
    found = family(int(step["pid"]), int(step["start"]), int(step["session"]))
    return not [each for each in found if _raise_files(each.pid, each.start, soft, lowered)]


def _raise_files(pid: int, start: int, soft: int, lowered: Container[int]) -> bool:
    """Raise a soft limit that is one of `lowered`; whether it was."""
    with Handle(pid, start) as handle:
        if handle.look() is None:
            return False
        try:
            now, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            before = min(soft, hard)
            if now >= before or now not in lowered:
                return False
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (before, hard))
        except ProcessLookupError:
            return False
        except OSError as error:
            raise StepFailed(f"process {pid} cannot be given its limit of files back: {error}") from None
    return True


def _remove(path: str) -> None:
    """A file or a folder of ours; it may be gone, it may have been begun only."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

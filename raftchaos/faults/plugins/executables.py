"""The executables of a custom fault: whether they may be run, and running them. Standard library only: the reaper
imports this.

Each gets in its environment RAFTCHAOS_KEY (names this use), RAFTCHAOS_TARGET, RAFTCHAOS_ARGUMENTS (JSON) and, for
`inject`, RAFTCHAOS_SEED and RAFTCHAOS_LEASE_END (seconds of CLOCK_BOOTTIME). Exit code 0 says that it is on, or off.
The last line that `recover` writes may be a JSON object of counts, `touched` among them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from raftchaos.faults.resources import marks
from raftchaos.faults.undo_plan import StepFailed

RECOVER_TIMEOUT: Final = 1.2
"""Seconds: with what ends the processes before it, within the recovery that the fault declares."""
_END_TIMEOUT: Final = 0.25
_KILLED_TIMEOUT: Final = 0.2
"""Seconds that a killed `recover` is waited for; one that the kernel holds ends when it can."""
_OUTPUT: Final = 4096
PAIR: Final = ("inject", "recover")


def names(folder: Path) -> list[str]:
    """The plug-ins of a folder: what has both executables, sorted."""
    try:
        found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []
    return [name for name in found if all((folder / name / part).exists() for part in PAIR)]


def problem_of(path: Path) -> str:
    """Why an executable is not run; "" if it may be: a file that nobody but root and this user can change."""
    for place in (path, path.parent, path.parent.parent):
        try:
            found = os.lstat(place)
        except OSError as error:
            return f"{place}: {error.strerror}"
        if stat.S_ISLNK(found.st_mode):
            return f"{place} is a symbolic link"
        if found.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to another user"
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{place} can be changed by other users"
    return "" if os.access(path, os.X_OK) and path.is_file() else f"{path} is no executable file"


def environment(step: Mapping[str, Any], **more: Any) -> dict[str, str]:
    """What an executable is told: the peer's environment, and what is to be done, as its undo step says."""
    return {
        **os.environ,
        "RAFTCHAOS_KEY": str(step["key"]),
        "RAFTCHAOS_TARGET": str(step["target"]),
        "RAFTCHAOS_ARGUMENTS": json.dumps(step["parameters"].get("arguments", {}), sort_keys=True),
        **{f"RAFTCHAOS_{name.upper()}": str(value) for name, value in more.items()},
    }


def recover(step: dict[str, Any]) -> dict[str, int]:
    """The undo step: end what `inject` left running, then run `recover`. Returns its counts. What `recover` leaves
    running, a service that it has started again, is left alone."""
    path = Path(str(step["folder"])) / "recover"
    left = marks.end_bearers(str(step["token"]), _END_TIMEOUT)
    if left:
        raise StepFailed(f"processes of the plug-in {step['target']} do not end: {', '.join(map(str, left))}")
    problem = problem_of(path)
    if problem:
        raise StepFailed(f"the plug-in cannot be taken back: {problem}")
    code, said = _run(path, environment(step))
    if code != 0:
        raise StepFailed(f"{path} ended with exit code {code}: {said.splitlines()[-1] if said else 'it said nothing'}")
    return counts_of(said)


def counts_of(said: str) -> dict[str, int]:
    """The counts in the last line of what `recover` wrote; {"touched": 0} if there are none."""
    try:
        found = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {"touched": 0}
    if not isinstance(found, dict):
        return {"touched": 0}
    good = {str(name): value for name, value in found.items() if type(value) is int and value >= 0}
    return {"touched": 0, **good}


def _run(path: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Run it until its own end: not to the end of its output, which a service that it starts may hold open. The output
    goes to memory, since the disk may be full."""
    with open(os.memfd_create("recover"), "w+b") as output:
        process = subprocess.Popen(
            [str(path)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=path.parent,
            env=variables,
            start_new_session=True,
        )
        try:
            code = process.wait(RECOVER_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_KILLED_TIMEOUT)
            raise StepFailed(f"{path} did not end within {RECOVER_TIMEOUT:g} s") from None
        size = os.fstat(output.fileno()).st_size
        return code, os.pread(output.fileno(), _OUTPUT, max(size - _OUTPUT, 0)).decode(errors="replace")

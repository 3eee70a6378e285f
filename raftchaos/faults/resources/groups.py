"""A control group of its own for a load, where this machine lets us make one: whatever is in it ends at one word."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

_NAME: Final = "raftchaos-"
_EMPTY_WITHIN: Final = 0.3
_LOOK: Final = 0.01


def mount() -> Path | None:
    """Where cgroup v2 is mounted, also beside v1; None if it is not."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            fields = line.split(" ")
            if len(fields) > 2 and fields[2] == "cgroup2":
                return Path(fields[1].replace("\\040", " "))
    return None


def planned(token: str) -> str:
    """The path of the group that a load may get; "" where this peer may make none."""
    root = mount()
    return "" if root is None or not os.access(root, os.W_OK) else str(root / f"{_NAME}{token}")


def make(path: str) -> None:
    """Make the group; without one the load goes on in the group of the peer."""
    if path:
        with contextlib.suppress(OSError):
            os.mkdir(path)


def join(path: str) -> None:
    """Put this process into the group, if it was made."""
    if path:
        with contextlib.suppress(OSError), open(f"{path}/cgroup.procs", "w") as file:
            file.write("0")


def kill(path: str) -> None:
    """SIGKILL to everything in the group. Older kernels cannot; the marks find them all the same."""
    if path:
        with contextlib.suppress(OSError), open(f"{path}/cgroup.kill", "w") as file:
            file.write("1")


def remove(path: str) -> None:
    """Remove the group, once what was killed in it has left. Raises OSError if something stays in it."""
    until = time.monotonic() + _EMPTY_WITHIN
    while path:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK)
        else:
            return

"""How the processes of a load are found again: by a mark in their environment that their undo record names.

The record is written before the first of them starts, so it cannot name their numbers; a mark is known before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import signal
import time
from pathlib import Path
from typing import Final

from raftchaos.faults.processes.proc import Handle, process

MARK: Final = "RAFTCHAOS_LOAD"
"""Environment variable that names the load which a process bears."""
_LOOK: Final = 0.01


def token_of(key: str, target: str) -> str:
    """What names one use of a fault in environments, files and control groups."""
    return hashlib.sha256(f"{key}@{target}".encode()).hexdigest()[:24]


def bears(pid: int, token: str = "") -> bool:
    """Whether a process bears the load of a token (of any, without one). Zombies and what is gone bear nothing."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return any(each.startswith(f"{MARK}={token}".encode()) for each in environment.split(b"\0"))


def bearers(token: str) -> list[int]:
    """The processes that bear the load of a token."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and bears(int(name), token)]


def end_bearers(token: str, timeout: float) -> list[int]:
    """SIGKILL to all of them, and to what they start meanwhile; returns those that are still there after the timeout.

    A process counts as ended when its memory and its files are given back, not when it has taken the signal.
    """
    end = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        dying: dict[int, Handle] = {}
        while True:
            for pid in bearers(token):
                found = process(pid)
                if pid not in dying and found is not None:
                    handle = stack.enter_context(Handle(pid, found.start))
                    if bears(pid, token):  # asked again: it is this process that the handle holds
                        handle.send(signal.SIGKILL)
                        dying[pid] = handle
            left = [pid for pid, handle in dying.items() if not handle.ended()]
            if not left and not bearers(token):
                return []
            if time.monotonic() > end:
                return left or bearers(token)  # some may come faster than they are ended
            _wait_for_one([dying[pid].fd for pid in left])


def _wait_for_one(handles: list[int]) -> None:
    if not handles:
        time.sleep(_LOOK)
        return
    poll = select.poll()
    for fd in handles:
        poll.register(fd, select.POLLIN)
    poll.poll(_LOOK * 1000)

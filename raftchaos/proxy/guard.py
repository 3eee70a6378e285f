"""While faults are on, a reaper stands: if there is none, and nobody else starts one, the proxy process does."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from raftchaos import limits
from raftchaos.proxy.table import FaultTable

log = logging.getLogger("raftchaos.proxy")


def reaper_stands(lock: Path) -> bool:
    """Whether a process holds the reaper's lock."""
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return True  # the data directory is gone or closed to us: a reaper could do nothing either
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


async def guard_reaper(table: FaultTable, command: Sequence[str], lock: Path) -> None:
    """Look again and again, until cancelled. A second reaper ends by itself at once, so starting one is never wrong."""
    started: subprocess.Popen[bytes] | None = None
    pause = limits.REAPER_LOOK
    while True:
        await asyncio.sleep(pause)
        pause = limits.REAPER_LOOK
        if started is not None and started.poll() is not None:
            started = None
        if started is not None or not table.runs() or reaper_stands(lock):
            continue
        log.warning("no reaper stands while faults are on; one is started")
        try:
            started = await asyncio.to_thread(_start, [*command, "--lease-end", str(table.lease_end)])
        except OSError as error:
            log.error("the reaper cannot be started: %s", error)
        pause = limits.REAPER_AGAIN


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

"""While faults are on, the proxy process sees to it that a reaper stands."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
from pathlib import Path

from raftchaos import limits
from raftchaos.clock import SystemClock
from raftchaos.proxy.guard import reaper_stands
from raftchaos.proxy.process import ProxyProcess
from tests.unit.proxy.proxy_world import World, boot


async def test_a_missing_reaper_is_started_once_faults_are_on(tmp_path: Path) -> None:
    started, lock = tmp_path / "started", tmp_path / "reaper.lock"
    stand_in = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[3])"
    command = json.dumps([sys.executable, "-c", stand_in, str(started)])
    process = ProxyProcess(
        tmp_path / "proxy.sock",
        SystemClock(),
        log_path=tmp_path / "log",
        arguments=["--reaper-command", command, "--reaper-lock", str(lock)],
    )
    fd = os.open(lock, os.O_RDWR | os.O_CREAT)
    await process.start()
    async with World.open(process) as world:
        await asyncio.sleep(2 * limits.REAPER_LOOK)
        assert not os.path.exists(started), "no fault is on"  # noqa: ASYNC240
        fcntl.flock(fd, fcntl.LOCK_EX)
        run = await world.inject("http_error")
        await asyncio.sleep(2 * limits.REAPER_LOOK)
        assert not os.path.exists(started), "a reaper stands"  # noqa: ASYNC240
        os.close(fd)
        end = boot() + 10
        while not os.path.exists(started):  # noqa: ASYNC240
            assert boot() < end
            await asyncio.sleep(0.05)
        await world.process.recover(run)
    await process.stop()


def test_whether_a_reaper_stands(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not reaper_stands(lock)
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert reaper_stands(lock)
    assert not reaper_stands(lock)
    assert reaper_stands(tmp_path / "gone" / "lock")

"""Child processes and their helpers are found and ended by process id, whatever was killed before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from raftchaos.errors import MachineUnusable
from raftchaos.launch import Child, answers, free_port, kill_marked, marked, new_mark

HELPER = "import time; time.sleep(600)"
# a process that starts a helper in a session of its own, as a peer does, says so, and waits
PARENT = f"""
import os, subprocess, sys, time
helper = subprocess.Popen([sys.executable, "-c", {HELPER!r}], stdout=subprocess.DEVNULL, start_new_session=True)
print(helper.pid, flush=True)
os.close(1)
time.sleep(600)
"""


async def started(tmp_path: Path, family: str = "") -> tuple[Child, psutil.Process]:
    """A child whose helper runs."""
    child = Child("parent", ["-c", PARENT], tmp_path / "parent.log", family=family)
    process = await child.start(stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    said = await asyncio.wait_for(process.stdout.read(), 20)  # to its end, so that the pipe is closed
    return child, psutil.Process(int(said))


async def test_a_stopped_child_leaves_no_helper(tmp_path: Path) -> None:
    child, helper = await started(tmp_path)
    assert {process.pid for process in marked(child.mark)} == {child.pid, helper.pid}
    assert await child.stop(grace=0.05) == [helper.pid]
    assert not child.running
    assert marked(child.mark) == []
    assert await child.stop(grace=0.05) == []


async def test_the_helper_of_a_killed_child_is_found(tmp_path: Path) -> None:
    child, helper = await started(tmp_path)
    await child.kill()
    assert not child.running
    assert helper.is_running()
    assert await child.stop(grace=0.05) == [helper.pid]
    assert marked(child.mark) == []


async def test_a_family_is_found_together(tmp_path: Path) -> None:
    family = new_mark()
    one, _ = await started(tmp_path, family)
    other, _ = await started(tmp_path, family)
    stranger, _ = await started(tmp_path)
    assert len(marked(family)) == 4
    assert len(await one.stop(grace=0.05)) == 1
    assert len(marked(family)) == 2
    kill_marked(family)
    await other.stop(grace=0.05)
    assert marked(family) == []
    assert len(marked(stranger.mark)) == 2
    await stranger.stop(grace=0.05)


async def test_a_child_that_ends_while_it_is_waited_for_says_why(tmp_path: Path) -> None:
    words = ["-c", "import sys; sys.exit('the cellar is flooded')"]
    child = Child("sump", words, tmp_path / "sump.log")
    await child.start()
    with pytest.raises(MachineUnusable, match="the cellar is flooded"):
        await child.wait_answers(f"127.0.0.1:{free_port()}", "/", timeout=20)
    await child.stop(grace=0.05)


async def test_a_child_that_never_answers(tmp_path: Path) -> None:
    child = Child("mute", ["-c", HELPER], tmp_path / "mute.log")
    await child.start()
    with pytest.raises(MachineUnusable, match="not ready within"):
        await child.wait_answers(f"127.0.0.1:{free_port()}", "/", timeout=0.2)
    await child.stop(grace=0.05)


def test_nobody_answers_at_a_free_port() -> None:
    assert not answers(f"127.0.0.1:{free_port()}", "/healthz", timeout=0.5)

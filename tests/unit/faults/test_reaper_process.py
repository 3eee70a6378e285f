"""Main's supervisor of the reaper, with the real process: it stands, knows the lease, comes back, and gives way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from raftchaos.clock import SystemClock
from raftchaos.errors import MachineUnusable
from raftchaos.faults.process import ReaperProcess, reaper_command, reaper_lock_path, reaper_stands
from raftchaos.faults.reaper import read_process
from raftchaos.faults.undo import UndoJournal
from raftchaos.faults.watching import start_of
from tests.unit.faults.proxy_stub import ProxyThread

CLOCK = SystemClock()
PATIENCE = 20.0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in another process
            await asyncio.sleep(0.01)


class Supervised:
    """A supervisor that runs, and the end of every reaper that it started."""

    def __init__(self, data_dir: Path) -> None:
        self.reaper = ReaperProcess(data_dir, CLOCK)
        self.task = asyncio.create_task(self.reaper.run())

    async def close(self) -> None:
        if not await self.reaper.stop():
            self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
async def supervised(data_dir: Path) -> AsyncIterator[Supervised]:
    made = Supervised(data_dir)
    await made.reaper.wait_standing(PATIENCE)
    yield made
    await made.close()
    assert not reaper_stands(data_dir)


async def test_it_stands_and_confirms_the_lease(supervised: Supervised) -> None:
    assert supervised.reaper.standing
    assert supervised.reaper.lease_end == 0.0
    end = CLOCK.boot() + 30
    supervised.reaper.on_renewed(end, 1)
    await until(lambda: supervised.reaper.lease_end == end)


async def test_one_that_was_killed_is_replaced_and_told_the_lease(supervised: Supervised) -> None:
    end = CLOCK.boot() + 30
    supervised.reaper.tell_lease(end)
    await until(lambda: supervised.reaper.lease_end == end)
    first = supervised.reaper.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervised.reaper.pid not in (0, first) and supervised.reaper.lease_end == end)


async def test_one_that_is_frozen_is_replaced(supervised: Supervised) -> None:
    first = supervised.reaper.pid
    os.kill(first, signal.SIGSTOP)
    supervised.reaper.tell_lease(CLOCK.boot() + 30)
    await until(lambda: supervised.reaper.pid not in (0, first) and supervised.reaper.lease_end > 0)
    assert start_of(first) == 0


async def test_a_restarted_one_does_not_undo_what_is_on_under_the_present_lease(
    supervised: Supervised, data_dir: Path, proxy: ProxyThread
) -> None:
    end = CLOCK.boot() + 30
    supervised.reaper.tell_lease(end)
    await until(lambda: supervised.reaper.lease_end == end)
    journal = UndoJournal(data_dir)
    with journal.lock(5):
        journal.record_open("t/1/0/a/1", "continuous", [{"do": "proxy.recover", "socket": str(proxy.path), "key": "k"}])
    first = supervised.reaper.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervised.reaper.pid not in (0, first) and supervised.reaper.lease_end == end)
    assert [record.run for record in journal.open_records()] == ["t/1/0/a/1"]
    assert not await supervised.reaper.stop()  # something is on
    with journal.lock(5):
        journal.mark_done("t/1/0/a/1", (), "main")
    journal.close()


def start_reaper(data_dir: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(reaper_command(data_dir), start_new_session=True)


def start_orphan(data_dir: Path) -> None:
    """A reaper whose main is dead and which cannot undo what is open, as the next start of the peer finds it."""
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    command = [*reaper_command(data_dir), "--main-pid", dead.stdout.strip(), "--main-start", "1"]
    script = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
    subprocess.run([sys.executable, "-c", script, *command], check=True, stderr=subprocess.DEVNULL)


async def test_it_waits_until_the_old_reaper_is_gone_and_takes_over_what_is_open(
    data_dir: Path, proxy: ProxyThread
) -> None:
    journal = UndoJournal(data_dir)
    with journal.lock(5):
        journal.record_open("t/1/0/a/1", "continuous", [{"do": "proxy.recover", "socket": str(proxy.path), "key": "k"}])
    proxy.refusing = True
    start_orphan(data_dir)
    await until(lambda: len(proxy.asked) >= 1)
    old = read_process(reaper_lock_path(data_dir))
    made = Supervised(data_dir)
    await made.reaper.wait_standing(PATIENCE)
    assert start_of(old[0]) != old[1]
    assert made.reaper.pid != old[0]
    proxy.refusing = False
    await until(lambda: not journal.open_records())
    assert journal.records()["t/1/0/a/1"].by == "reaper"
    await made.close()
    journal.close()


async def test_it_adopts_the_reaper_that_the_proxy_started_for_this_main(data_dir: Path) -> None:
    folder = data_dir / "undo"
    folder.mkdir()
    (folder / "main").write_text(f"{os.getpid()} {start_of(os.getpid())}\n")
    other = start_reaper(data_dir)
    await until(lambda: reaper_stands(data_dir))
    made = Supervised(data_dir)
    await made.reaper.wait_standing(PATIENCE)
    assert made.reaper.pid == other.pid
    await made.close()
    assert other.wait(PATIENCE) == 0


async def test_why_none_stands_is_told(data_dir: Path) -> None:
    (data_dir / "undo").mkdir()
    (data_dir / "undo" / "reaper.lock").mkdir()
    reaper = ReaperProcess(data_dir, CLOCK)
    task = asyncio.create_task(reaper.run())
    with pytest.raises(MachineUnusable, match=r"does not stand after 1 s: .*reaper\.lock"):
        await reaper.wait_standing(1.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_data_directory_with_a_long_path_works_too(tmp_path: Path) -> None:
    folder = tmp_path / ("long-" * 20)
    folder.mkdir()
    made = Supervised(folder)
    await made.reaper.wait_standing(PATIENCE)
    await made.close()

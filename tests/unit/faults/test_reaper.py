"""The reaper as a real process: main is killed, frozen, or loses its lease; what was open is undone, once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftchaos import limits
from raftchaos.faults.reaper import ANOTHER_STANDS, boot_clock
from raftchaos.faults.reaper_socket import Frames, frame
from raftchaos.faults.undo import UndoJournal
from raftchaos.faults.watching import Watched, start_of
from tests.unit.faults.proxy_stub import ProxyThread

RUN = "t/1/0/a/1"
KEY = RUN + "#0@web"
BOUND = 3 * limits.REVERT
"""How long a test waits for what must have happened within `limits.REVERT`."""

MAIN = """
import sys, time
from pathlib import Path
from raftchaos.faults.undo import UndoJournal
journal = UndoJournal(Path(sys.argv[1]))
assert journal.try_lock()
if sys.argv[2] == "frozen-in-injection":
    print("holding", flush=True)
    time.sleep(60)
journal.unlock()
print("idle", flush=True)
time.sleep(60)
"""


def wait_until(condition: Callable[[], Any], what: str, timeout: float = BOUND) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.01)


class World:
    """A data directory with one open record, a main that does nothing, a reaper, and the proxy it acts on."""

    def __init__(self, data_dir: Path, proxy: ProxyThread) -> None:
        self.data_dir = data_dir
        self.proxy = proxy
        self.journal = UndoJournal(data_dir)
        self.children: list[subprocess.Popen[str]] = []

    def open_record(self, run: str = RUN, holder: str = "") -> str:
        key = run + "#0@web"
        step = {"do": "proxy.recover", "socket": str(self.proxy.path), "key": key, "fault": 0}
        with self.journal.lock(5):
            self.journal.record_open(run, "continuous", [step], holder)
        self.proxy.on.add(key)
        return key

    def start_main(self, mode: str = "idle") -> subprocess.Popen[str]:
        main = self._child([sys.executable, "-c", MAIN, str(self.data_dir), mode])
        assert main.stdout is not None
        assert main.stdout.readline().strip() in ("idle", "holding")
        return main

    def start_reaper(self, main: subprocess.Popen[str], *, lease: float = 60.0) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "raftchaos.faults.reaper", "--data-dir", str(self.data_dir)]
        command += ["--main-pid", str(main.pid), "--lease-end", repr(boot_clock() + lease if lease else 0.0)]
        reaper = self._child(command)
        if lease > 1:
            wait_until(lambda: self.ask(do="hello"), "the reaper stands", 20)
        return reaper

    def ask(self, **message: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            connection.connect(str(self.data_dir / "reaper.sock"))
            connection.sendall(frame(message))
            frames = Frames()
            while data := connection.recv(4096):
                for answer in frames.feed(data):
                    return answer
        return {}

    def done_by(self, run: str = RUN) -> str:
        return self.journal.records()[run].by

    def _child(self, command: list[str]) -> subprocess.Popen[str]:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.children.append(child)
        return child

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.communicate()
        self.journal.close()


@pytest.fixture
def world(data_dir: Path, proxy: ProxyThread) -> Iterator[World]:
    made = World(data_dir, proxy)
    yield made
    made.close()


def test_a_main_that_is_killed_is_cleaned_up_after_and_then_the_reaper_ends(world: World) -> None:
    main = world.start_main()
    reaper = world.start_reaper(main)
    world.open_record()
    main.kill()
    wait_until(lambda: world.done_by() == "reaper", "the record is done")
    assert world.proxy.on == set()
    assert world.journal.records()[RUN].effects == ({"touched": 5, "bytes": 100},)
    assert reaper.wait(BOUND) == 0
    assert world.journal.epoch >= 1


def test_the_end_of_the_lease_undoes_without_hurting_main(world: World) -> None:
    main = world.start_main()
    world.start_reaper(main)
    world.open_record()
    assert world.done_by() == ""
    assert world.ask(do="lease", end=boot_clock() + 61)["ok"]
    reaper_end = world.ask(do="hello")["lease_end"]
    assert reaper_end > boot_clock() + 50
    world.children[-1].kill()
    world.children[-1].wait()
    world.start_reaper(main, lease=0.5)
    wait_until(lambda: world.done_by() == "reaper", "the record is done")
    assert main.poll() is None
    assert world.proxy.on == set()


def test_a_frozen_main_is_undone_at_the_end_of_its_lease_and_lives(world: World) -> None:
    main = world.start_main()
    world.open_record()
    os.kill(main.pid, signal.SIGSTOP)
    world.start_reaper(main, lease=0.8)
    wait_until(lambda: world.done_by() == "reaper", "the record is done")
    os.kill(main.pid, signal.SIGCONT)
    assert main.poll() is None


def test_a_main_that_is_frozen_in_an_injection_is_killed(world: World) -> None:
    world.open_record()
    main = world.start_main("frozen-in-injection")
    os.kill(main.pid, signal.SIGSTOP)
    reaper = world.start_reaper(main, lease=0.8)
    wait_until(lambda: world.done_by() == "reaper", "the record is done")
    assert main.wait(BOUND) == -signal.SIGKILL
    assert reaper.wait(BOUND) == 0


def test_a_lease_that_ended_is_not_extended_for_what_was_under_it(world: World) -> None:
    main = world.start_main()
    world.open_record()
    world.proxy.refusing = True
    world.start_reaper(main, lease=0.3)
    wait_until(lambda: world.proxy.asked, "the first try")
    assert world.ask(do="lease", end=boot_clock() + 60)["ok"]
    world.open_record("t/1/1/a/1")
    world.proxy.refusing = False
    wait_until(lambda: world.done_by() == "reaper", "what was under the old lease is undone")
    assert world.done_by("t/1/1/a/1") == ""
    assert world.proxy.on == {"t/1/1/a/1#0@web"}


def test_what_is_opened_after_the_end_of_the_lease_is_undone_too(world: World) -> None:
    main = world.start_main()
    world.start_reaper(main, lease=0.0)
    wait_until(lambda: world.journal.epoch == 1, "the first look")
    world.open_record()
    wait_until(lambda: world.done_by() == "reaper", "the record is done")


def test_undoing_is_tried_again_until_it_works_also_without_main(world: World) -> None:
    main = world.start_main()
    reaper = world.start_reaper(main)
    world.open_record()
    world.proxy.silent = True
    main.kill()
    wait_until(lambda: len(world.proxy.asked) >= 2, "two tries")
    assert world.done_by() == ""
    assert reaper.poll() is None
    world.proxy.silent = False
    wait_until(lambda: world.done_by() == "reaper", "the record is done")
    assert reaper.wait(BOUND) == 0


def test_a_proxy_process_that_is_gone_has_no_faults(world: World) -> None:
    main = world.start_main()
    world.start_reaper(main)
    world.open_record()
    world.proxy.path.unlink()
    main.kill()
    wait_until(lambda: world.done_by() == "reaper", "the record is done")
    assert world.journal.records()[RUN].effects == ({"touched": 0},)


def test_a_record_that_is_done_is_left_alone(world: World) -> None:
    main = world.start_main()
    reaper = world.start_reaper(main)
    world.open_record()
    with world.journal.lock(5):
        world.journal.mark_done(RUN, ({"touched": 1},), "main")
    main.kill()
    assert reaper.wait(BOUND) == 0
    assert world.proxy.asked == []
    assert world.done_by() == "main"


def test_one_reaper_stands_at_a_time(world: World) -> None:
    main = world.start_main()
    first = world.start_reaper(main)
    second = world.start_reaper(main, lease=0.0)
    assert second.wait(20) == ANOTHER_STANDS
    first.kill()
    first.wait()
    world.start_reaper(main)


def test_it_ends_when_main_asks_but_not_while_something_is_open(world: World) -> None:
    main = world.start_main()
    reaper = world.start_reaper(main)
    world.open_record()
    assert "undone" in world.ask(do="stop")["error"]
    assert "alive" in world.ask(do="retire")["error"]
    assert "found the request" in world.ask(do="dance")["error"]
    with world.journal.lock(5):
        world.journal.mark_done(RUN, (), "main")
    os.kill(reaper.pid, signal.SIGTERM)  # the service manager's: it stays as long as main does
    assert world.ask(do="stop")["ok"]
    assert reaper.wait(BOUND) == 0


def test_garbage_on_its_socket_changes_nothing(world: World) -> None:
    main = world.start_main()
    world.start_reaper(main)
    for garbage in (b"\xff" * 100, b"\0\0\0\1\xc1", b"\0\0\0\1\x01", b""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(world.data_dir / "reaper.sock"))
            connection.sendall(garbage)
    assert world.ask(do="hello")["main_pid"] == main.pid


def test_a_pid_that_was_given_to_another_process_is_not_main(world: World) -> None:
    other = world.start_main()
    stranger = Watched(other.pid, start_of(other.pid) - 1)
    assert not stranger.alive()
    stranger.kill()
    assert other.poll() is None
    mine = Watched(other.pid, start_of(other.pid))
    assert mine.alive()
    mine.kill()
    other.wait()
    assert not mine.alive()
    mine.close()


def test_killing_main_takes_its_helpers_but_nobody_elses_group(world: World) -> None:
    script = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        helper = int(main.stdout.readline())
        watched = Watched(main.pid, start_of(main.pid))  # it is in the process group of this test
        watched.kill()
        watched.close()
    wait_until(lambda: start_of(helper) == 0, "the helper is gone")


def test_what_stands_for_the_life_of_main_ends_with_main_and_not_with_the_lease(world: World) -> None:
    main = world.start_main()
    world.open_record("own", f"{main.pid} {start_of(main.pid)}")
    world.open_record("other", f"{main.pid} 1")
    world.open_record()
    reaper = world.start_reaper(main, lease=0.3)
    wait_until(lambda: world.done_by() == "reaper", "the record of the run is done")
    wait_until(lambda: world.done_by("other") == "reaper", "so is that of an earlier main")
    assert world.done_by("own") == ""
    world.open_record("later")
    wait_until(lambda: world.done_by("later") == "reaper", "what is opened without a lease is done")
    assert world.done_by("own") == ""
    assert not world.ask(do="stop")["ok"], "it stays as long as something is on"
    main.kill()
    wait_until(lambda: world.done_by("own") == "reaper", "the record of main's life is done")
    assert world.proxy.on == set()
    assert reaper.wait(BOUND) == 0

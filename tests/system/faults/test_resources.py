"""Loads on this machine, measured from outside: CPU time, memory, free disk, descriptors; and gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from raftchaos.errors import InjectionFailed, NotFound, Refused
from raftchaos.faults.resources import groups, marks, undo
from tests.system.faults.disks import Writer
from tests.system.faults.one_fault import KEY, OneFault

MEBI = 1024 * 1024
Make = Callable[..., OneFault]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes faults whose data directory is a temporary one; ends whatever they have left running."""
    made: list[OneFault] = []

    def one(name: str, **parameters: object) -> OneFault:
        made.append(OneFault(name, parameters, tmp_path))
        return made[-1]

    yield one
    for each in made:
        await each.recover()
    assert not [pid for each in made for pid in bearers(each)]
    assert not list((tmp_path / "faults").glob("*"))


@pytest.fixture(params=["ours", "stress-ng"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, require: Callable[[bool, str], None]) -> str:
    """Who makes the load: our own processes, or stress-ng."""
    found = psutil.Popen(["sh", "-c", "command -v stress-ng"], stdout=subprocess.PIPE)
    place = found.communicate()[0].decode().strip()
    if request.param == "ours":
        monkeypatch.setenv("PATH", "/nonexistent")
    else:
        require(bool(place), "stress-ng (install the package stress-ng)")
    return str(request.param)


def bearers(fault: OneFault) -> list[int]:
    """The processes of its load, found by their environment."""
    return [pid for step in fault.plan if "token" in step for pid in marks.bearers(step["token"])]


def tree(fault: OneFault) -> list[psutil.Process]:
    """The processes of its load, found by who started whom."""
    mine = [each for each in psutil.Process().children() if each.pid in bearers(fault)]
    return [each for one in mine for each in (one, *one.children(recursive=True))]


def workers(fault: OneFault) -> list[psutil.Process]:
    """Those below its helper, whose own start costs CPU time too."""
    return [each for one in tree(fault) if one.ppid() == os.getpid() for each in one.children(recursive=True)]


def burnt(processes: list[psutil.Process]) -> float:
    """CPU seconds of processes."""
    found = 0.0
    for each in processes:
        with contextlib.suppress(psutil.Error):
            found += sum(each.cpu_times()[:2])
    return found


def of(pid: int, what: str) -> str:
    """A file of a process in /proc."""
    return Path(f"/proc/{pid}/{what}").read_text()


async def until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait for something that is about to happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for: {what}"
        await asyncio.sleep(0.02)


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs."""
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


# ---- CPU


async def test_cpu_time_is_burnt_and_counted(make: Make, by: str) -> None:
    fault = make("cpu_load", workers=2, percent=50)
    assert fault.resolve() == ("cpu",)
    await fault.inject()
    names = {each.name() for each in tree(fault)}
    assert any("stress-ng" in name for name in names) == (by == "stress-ng")
    await until(lambda: burnt(workers(fault)) > 1.0, "a CPU second")
    running, seen = tree(fault), burnt(workers(fault))
    assert await fault.seen() == ["cpu"]
    effect = await fault.recover()
    assert gone(running)
    assert seen * 1000 * 0.7 < effect["cpu_ms"] < seen * 1000 * 1.5 + 500
    assert effect["touched"] >= 1
    assert await fault.seen() == []


async def test_a_part_of_a_cpu_is_a_part(make: Make, by: str) -> None:
    shares = {}
    for percent in (20, 80):
        fault = make("cpu_load", workers=1, percent=percent)
        await fault.inject()
        await until(lambda fault=fault: burnt(workers(fault)) > 0.3, "a load that has begun")  # type: ignore[misc]
        began, used = time.monotonic(), burnt(workers(fault))
        await asyncio.sleep(2)
        shares[percent] = (burnt(workers(fault)) - used) / (time.monotonic() - began)
        await fault.recover()
    assert shares[20] < 0.45
    assert shares[80] > shares[20] * 1.5


async def test_a_load_ends_with_its_lease_and_goes_on_with_a_later_one(make: Make, by: str) -> None:
    fault = make("cpu_load", workers=1)
    await fault.inject(lease=2.0)
    running = tree(fault)
    await fault.fault.renew(time.clock_gettime(time.CLOCK_BOOTTIME) + 4.0)
    await asyncio.sleep(2.5)
    assert not gone(running)
    assert not await fault.fault.lost()
    await until(lambda: gone(running), "the end of the load at the end of its lease", 10)
    assert [target for _, target in await fault.fault.lost()] == list(fault.targets)
    assert fault.reap()["cpu_ms"] > 500


async def test_the_reaper_ends_a_load_by_its_plan_and_counts_the_same(make: Make, by: str) -> None:
    fault = make("cpu_load", workers=2)
    await fault.inject()
    await until(lambda: burnt(workers(fault)) > 0.5, "half a CPU second")
    running = tree(fault)
    for each in running:
        each.suspend()
    seen = burnt(workers(fault))
    effect = fault.reap()
    assert gone(running)
    assert abs(effect["cpu_ms"] / 1000 - seen) < 0.5 + seen / 2
    assert fault.reap()["touched"] == 0  # nothing is left to do


MAIN = """
import asyncio, json, sys
from pathlib import Path
from tests.system.faults.one_fault import OneFault
async def main():
    fault = OneFault("cpu_load", {"workers": 2}, Path(sys.argv[1]))
    await fault.inject()
    print(json.dumps(fault.plan[0]), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
def main(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A main of its own that loads the CPU."""
    made = subprocess.Popen([sys.executable, "-c", MAIN, str(tmp_path)], stdout=subprocess.PIPE)
    yield made
    made.kill()
    made.communicate()


async def test_a_load_ends_when_main_is_killed(tmp_path: Path, by: str, main: subprocess.Popen[bytes]) -> None:
    assert main.stdout is not None
    step, started = json.loads(main.stdout.readline()), psutil.Process(main.pid)
    await until(lambda: burnt(started.children(recursive=True)) > 0.5, "half a CPU second")
    running = started.children(recursive=True)
    assert len(running) >= 3
    main.kill()
    main.wait()
    await until(lambda: gone(running), "the end of what main has started", 5)
    assert "cpu_ms" in undo.end(step)
    assert not list((tmp_path / "faults").glob("*"))


async def test_loads_that_cannot_begin_say_why(make: Make, tmp_path: Path) -> None:
    fault = make("disk_io_load", path=str(tmp_path))
    fault.targets = fault.resolve()
    fault.plan = [step for target in fault.targets for step in fault.fault.undo_steps(KEY, target)]
    os.mkdir(fault.plan[0]["files"][0])
    with pytest.raises(InjectionFailed, match="File exists"):
        await fault.again()


# ---- memory


async def test_memory_is_held_and_given_back(make: Make) -> None:
    fault = make("memory_pressure", bytes=210 * MEBI)
    assert fault.resolve() == ("memory",)
    await fault.inject()
    await until(lambda: max(each.memory_info().rss for each in tree(fault)) >= 220 * MEBI, "210 MiB, and Python")
    (held,) = [each for each in tree(fault) if each.memory_info().rss >= 210 * MEBI]
    assert held.memory_info().rss < 270 * MEBI
    assert of(held.pid, "oom_score_adj") == "1000\n"
    effect = await fault.recover()
    assert effect == {"held_bytes": 210 * MEBI, "touched": 210 * MEBI}
    assert gone([held])


async def test_memory_leaves_a_floor(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    room = psutil.virtual_memory().available
    monkeypatch.setattr("raftchaos.limits.FAULT_MEMORY_FLOOR", room - 300 * MEBI)
    fault = make("memory_pressure", percent=100)
    await fault.inject()
    await asyncio.sleep(1.5)
    assert 0 < (await fault.effects())["held_bytes"] <= 800 * MEBI
    monkeypatch.setattr("raftchaos.limits.FAULT_MEMORY_FLOOR", room * 2)
    with pytest.raises(Refused, match="nothing can be held"):
        fault.resolve()


# ---- control groups


@pytest.fixture
def stranger(require: Callable[[bool, str], None]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is of no load."""
    require(bool(groups.planned("any")), "cgroup v2")
    made = subprocess.Popen(["sleep", "600"])
    yield made
    made.kill()
    made.wait()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        pytest.param("cpu_load", {"workers": 1, "percent": 20}, id="cpu_load"),
        pytest.param("memory_pressure", {"bytes": 32 * MEBI}, id="memory_pressure"),
    ],
)
async def test_a_load_has_a_control_group_of_its_own(
    make: Make, stranger: subprocess.Popen[bytes], name: str, parameters: dict[str, int]
) -> None:
    fault = make(name, **parameters)
    await fault.inject()
    (step,) = fault.plan
    group = Path(step["cgroup"])
    await until(lambda: felt(fault, name), "a load that has begun")
    inside = {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
    assert inside == {each.pid for each in tree(fault)}
    (group / "cgroup.procs").write_text(str(stranger.pid))  # as what has lost our mark
    assert fault.reap()["touched"] > 0
    assert stranger.wait(5) == -signal.SIGKILL
    await until(lambda: not group.exists(), "the end of the group")


def felt(fault: OneFault, name: str) -> bool:
    """Whether it is felt."""
    if name == "cpu_load":
        return burnt(workers(fault)) > 0.1
    return max(each.memory_info().rss for each in tree(fault)) > 32 * MEBI


# ---- disks


def free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


async def test_a_disk_is_filled_down_to_what_stays_free(small_disk: Path, make: Make) -> None:
    before, names = free(small_disk), sorted(os.listdir(small_disk))
    fault = make("disk_fill", path=str(small_disk), leaveFreeBytes=20 * MEBI)
    assert fault.resolve() == (f"path:{small_disk}",)
    await fault.inject()
    assert all(os.path.basename(name).startswith(".raftchaos-fill-") for name in fault.plan[0]["files"])
    await until(lambda: free(small_disk) < 22 * MEBI, "a disk that is nearly full")
    assert free(small_disk) >= 19 * MEBI
    assert await fault.seen() == [f"path:{small_disk}"]
    taken = before - free(small_disk)
    effect = await fault.recover()
    assert abs(effect["held_bytes"] - taken) < 2 * MEBI
    assert effect["touched"] > 0
    assert abs(free(small_disk) - before) < MEBI
    assert sorted(os.listdir(small_disk)) == names


async def test_a_filled_disk_is_emptied_by_the_reaper(small_disk: Path, make: Make) -> None:
    before = free(small_disk)
    fault = make("disk_fill", path=str(small_disk), bytes=50 * MEBI)
    await fault.inject()
    await until(lambda: free(small_disk) <= before - 50 * MEBI, "50 MiB taken")
    for pid in bearers(fault):
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not bearers(fault), "its end")
    assert await fault.seen() == [f"path:{small_disk}"]  # the file is still there
    assert fault.reap()["held_bytes"] >= 50 * MEBI
    assert abs(free(small_disk) - before) < MEBI


async def test_part_of_a_disk_is_filled(small_disk: Path, make: Make) -> None:
    fault = make("disk_fill", path=str(small_disk), percent=50)
    await fault.inject()
    size = os.statvfs(small_disk).f_blocks * os.statvfs(small_disk).f_frsize
    await until(lambda: free(small_disk) < size * 0.52, "half of it")
    assert free(small_disk) > size * 0.48
    with pytest.raises(Refused, match="filled to 40 % already"):
        make("disk_fill", path=str(small_disk), percent=40).resolve()


async def test_a_disk_with_10_mb_left_is_refused(small_disk: Path, make: Make) -> None:
    with (small_disk / "theirs").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free(small_disk) - 10 * MEBI)
    before = free(small_disk)
    with pytest.raises(Refused, match="nothing can be filled"):
        make("disk_fill", path=str(small_disk), leaveFreeBytes=16 * MEBI).resolve()
    assert free(small_disk) == before


@pytest.mark.parametrize("name", ["disk_fill", "disk_io_load"])
def test_folders_that_take_no_files_are_refused(name: str, tmp_path: Path) -> None:
    for path, error in (("/proc", Refused), ("/nonexistent/folder", NotFound), ("/etc/passwd", NotFound)):
        with pytest.raises(error):
            OneFault(name, {"path": path}, tmp_path).resolve()


async def test_a_disk_is_kept_busy(make: Make, by: str, tmp_path: Path) -> None:
    folder = tmp_path / "busy"
    folder.mkdir()
    fault = make("disk_io_load", path=str(folder), workers=2)
    await fault.inject()

    def written() -> int:
        return sum(each.io_counters().write_bytes for each in tree(fault) if each.is_running())

    await until(lambda: written() > 20 * MEBI, "20 MiB written")
    seen = written()
    effect = await fault.recover()
    assert effect["written_bytes"] > seen * 0.7
    assert effect["touched"] >= effect["written_bytes"]
    assert not list(folder.iterdir())


# ---- throttles


async def test_writes_are_throttled(make: Make, small_disk: Path, writer: tuple[Path, Writer]) -> None:
    group, process = writer
    quick = process.seconds()
    before = (group / "io.max").read_text()
    fault = make(
        "disk_throttle", commandLine=f"*{group} {small_disk}/theirs", path=str(small_disk), writeBytesPerSecond=MEBI
    )
    (target,) = fault.resolve()
    assert target.startswith(f"io:/{group.name} ")
    await fault.inject()
    assert "wbps=1048576" in (group / "io.max").read_text()
    slow = process.seconds()
    assert slow > max(2.0, quick * 2)
    assert await fault.seen() == [target]
    effect = await fault.recover()
    assert effect["written_bytes"] >= 3 * MEBI
    assert effect["touched"] > 0
    assert (group / "io.max").read_text() == before
    process.seconds()  # the end of what was throttled before
    assert process.seconds() < slow / 2
    await fault.again()
    assert fault.reap()["read_bytes"] == 0
    assert (group / "io.max").read_text() == before


async def test_no_throttle_where_the_peer_is(make: Make, small_disk: Path, writer: tuple[Path, Writer]) -> None:
    group, process = writer
    wanted = {"path": str(small_disk), "writeBytesPerSecond": MEBI}
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        with pytest.raises(Refused, match="this peer itself is in the control group"):
            make("disk_throttle", commandLine=f"*{group} {small_disk}/theirs", **wanted).resolve()
    finally:
        (group.parent / "cgroup.procs").write_text(str(os.getpid()))
    with pytest.raises(Refused, match="in memory, or of the network"):
        make("disk_throttle", commandLine=f"*{group}*", **{**wanted, "path": "/proc"}).resolve()
    assert process.process.poll() is None


# ---- descriptors


OPENER = """
import sys
for line in sys.stdin:
    try:
        open("/dev/null").close()
        print("open", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


class Opener:
    """A process that opens a file when it is asked to, and says what came of it."""

    def __init__(self, folder: Path) -> None:
        self.script = folder / "opener.py"
        self.script.write_text(OPENER)
        self.process = subprocess.Popen(
            [sys.executable, str(self.script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.ask() == "open"

    def ask(self) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Opener]:
    """One such process."""
    made = Opener(tmp_path)
    yield made
    made.close()


async def test_a_process_can_open_no_more_files(make: Make, opener: Opener) -> None:
    pid = opener.process.pid
    before = of(pid, "limits")
    fault = make("file_descriptors", commandLine=f"*{opener.script}")
    assert fault.resolve() == (f"process:{pid}",)
    await fault.inject()
    assert opener.ask() == str(errno.EMFILE)
    assert await fault.seen() == [f"process:{pid}"]
    assert await fault.recover() == {"limited": 1, "touched": 1}
    assert opener.ask() == "open"
    await fault.again()
    assert opener.ask() == str(errno.EMFILE)
    assert fault.reap() == {"limited": 1, "touched": 1}
    assert of(pid, "limits") == before
    opener.close()
    assert fault.reap() == {"touched": 0}


FORKER = """
import os, signal, sys
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        if line.strip() == "alive":
            os.setsid()
        signal.pause()
    print(pid, flush=True)
"""


class Forker:
    """A process that starts another when it is asked to: in a session of its own if its parent stays `alive`."""

    def __init__(self, folder: Path) -> None:
        self.script = folder / "forker.py"
        self.script.write_text(FORKER)
        self.children: list[int] = []
        command = [sys.executable, str(self.script)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def fork(self, parent: str) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{parent}\n")
        self.process.stdin.flush()
        self.children.append(int(self.process.stdout.readline()))
        return self.children[-1]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.end()
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def forker(tmp_path: Path) -> Iterator[Forker]:
    """One such process."""
    made = Forker(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("parent", ["alive", "gone"])
@pytest.mark.parametrize("undone_by", ["main", "reaper"])
async def test_what_starts_meanwhile_gets_its_files_back(
    make: Make, forker: Forker, parent: str, undone_by: str
) -> None:
    older = forker.fork(parent)
    before = of(older, "limits")
    fault = make("file_descriptors", commandLine=f"*{forker.script}")
    fault.targets = (f"process:{forker.process.pid}",)
    fault.plan = fault.fault.undo_steps(KEY, fault.targets[0])
    await fault.again()
    child = forker.fork(parent)
    assert of(child, "limits") != before
    _, hard = resource.prlimit(older, resource.RLIMIT_NOFILE, (20, resource.prlimit(older, resource.RLIMIT_NOFILE)[1]))
    if parent == "gone":
        forker.end()
    await fault.recover() if undone_by == "main" else fault.reap()
    assert of(child, "limits") == before
    assert resource.prlimit(older, resource.RLIMIT_NOFILE) == (20, hard)  # that was its own choice


async def test_descriptors_of_the_host_are_held(make: Make) -> None:
    fault = make("file_descriptors", count=500)
    assert fault.resolve() == ("descriptors",)
    await fault.inject()
    await until(lambda: any(each.num_fds() >= 500 for each in tree(fault)), "500 open files")
    assert await fault.recover() == {"descriptors": 500, "touched": 500}

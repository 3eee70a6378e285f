"""Signals, pauses and restarts of real processes, seen from outside in /proc; and nobody else is touched."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from raftchaos.errors import InjectionFailed, NotFound, Refused
from tests.system.faults.one_fault import OneFault

SLEEPER = "import sys, time; print('up', flush=True); time.sleep(600)"


class Stage:
    """Processes of the test, each of which is found by a word on its command line."""

    def __init__(self, folder: Path) -> None:
        self.word = f"rc-{os.path.basename(folder)}-{os.getpid()}"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, code: str = SLEEPER, **options: object) -> subprocess.Popen[bytes]:
        """One more; returns when it is up."""
        child = subprocess.Popen(
            [sys.executable, "-c", code, self.word, *words],
            stdout=subprocess.PIPE,
            **options,  # type: ignore[call-overload]
        )
        self.running.append(child)
        assert child.stdout.readline() == b"up\n"
        return child

    @property
    def pattern(self) -> str:
        """A pattern of all their command lines, and of no other."""
        return f"*{self.word}*"

    def close(self) -> None:
        for child in self.running:
            child.kill()
            child.communicate()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """No process yet."""
    made = Stage(tmp_path)
    yield made
    made.close()


def state(child: subprocess.Popen[bytes]) -> str:
    """The letter of proc(5)."""
    return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]


def target(child: subprocess.Popen[bytes]) -> str:
    return f"process:{child.pid}"


async def until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait for something that is about to happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for: {what}"
        await asyncio.sleep(0.02)


# ---- kill


async def test_every_selected_process_is_killed_and_no_other(stage: Stage, tmp_path: Path) -> None:
    victims, other = [stage.start("a"), stage.start("b")], stage.start("c")
    fault = OneFault("process_kill", {"commandLine": f"*{stage.word} [ab]"}, tmp_path)
    assert fault.resolve() == tuple(sorted(map(target, victims)))
    await fault.inject()
    assert [child.wait(5) for child in victims] == [-signal.SIGKILL] * 2
    assert other.poll() is None
    assert await fault.recover() == {"signalled": 2, "touched": 2}
    assert fault.plan == []


async def test_any_signal_is_sent(stage: Stage, tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGHUP, lambda *_: print('hup', flush=True)); print('up', flush=True)\nwhile True: time.sleep(60)"  # noqa: E501
    child = stage.start(code=code)
    fault = OneFault("process_kill", {"commandLine": stage.pattern, "signal": "HUP"}, tmp_path)
    await fault.inject()
    assert child.stdout is not None
    assert child.stdout.readline() == b"hup\n"
    assert child.poll() is None


async def test_another_process_with_the_number_is_not_killed(stage: Stage, tmp_path: Path) -> None:
    first, second = stage.start("first"), stage.start("second")
    fault = OneFault("process_kill", {"commandLine": f"*{stage.word} first"}, tmp_path)
    fault.targets = fault.resolve()
    fault.fault.undo_steps("k", fault.targets[0])
    fault.fault._starts["task/1/0/here/1#0", target(second)] = 1  # type: ignore[attr-defined]
    fault.targets = (target(second),)
    await fault.again()
    assert await fault.recover() == {"signalled": 0, "touched": 0}
    assert second.poll() is None
    assert first.poll() is None


async def test_a_repeated_kill_finds_who_came_after(stage: Stage, tmp_path: Path) -> None:
    fault = OneFault("process_kill", {"commandLine": stage.pattern, "every": {"seconds": 1}}, tmp_path)
    first = stage.start()
    assert fault.resolve() == (f"processes:commandLine={stage.pattern}",)
    await fault.inject()
    assert first.wait(5) == -signal.SIGKILL
    assert (await fault.recover())["signalled"] == 1
    await fault.again()  # nobody is there: it is being started again
    assert (await fault.recover())["signalled"] == 0
    second = stage.start()
    await fault.again()
    assert second.wait(5) == -signal.SIGKILL
    assert (await fault.recover())["signalled"] == 1


async def test_of_many_some_are_drawn_by_the_seed(stage: Stage, tmp_path: Path) -> None:
    children = [stage.start(str(number)) for number in range(4)]
    fault = OneFault("process_kill", {"commandLine": stage.pattern, "count": 1}, tmp_path)
    await fault.inject(seed=1)
    await until(lambda: any(child.poll() is not None for child in children), "one that has ended")
    assert sum(child.poll() is None for child in children) == 3
    assert (await fault.recover())["touched"] == 1


# ---- pause


async def test_a_paused_process_stands_and_goes_on(stage: Stage, tmp_path: Path) -> None:
    child, other = stage.start("one"), stage.start("two")
    fault = OneFault("process_pause", {"commandLine": f"*{stage.word} one"}, tmp_path)
    await fault.inject()
    assert state(child) == "T"
    assert state(other) in "RS"
    assert await fault.seen() == [target(child)]
    assert (await fault.effects())["touched"] == 1
    effect = await fault.recover()
    assert state(child) in "RS"
    assert (effect["signalled"], effect["touched"]) == (1, 1)
    assert await fault.seen() == []
    await fault.again()  # the next pulse
    assert state(child) == "T"
    await fault.recover()
    assert state(child) in "RS"


async def test_the_reaper_lets_it_go_on(stage: Stage, tmp_path: Path) -> None:
    child = stage.start()
    fault = OneFault("process_pause", {"commandLine": stage.pattern}, tmp_path)
    await fault.inject()
    assert fault.reap() == {"signalled": 1, "touched": 1}
    assert state(child) in "RS"
    assert fault.reap() == {"touched": 0}
    child.kill()
    child.wait()
    assert fault.reap() == {"touched": 0}
    assert (await fault.recover())["touched"] == 1  # it did stand


async def test_what_stands_already_is_refused(stage: Stage, tmp_path: Path) -> None:
    child = stage.start()
    child.send_signal(signal.SIGSTOP)
    await until(lambda: state(child) == "T", "a process that stands")
    with pytest.raises(Refused, match="stands still already"):
        OneFault("process_pause", {"commandLine": stage.pattern}, tmp_path).resolve()
    assert state(child) == "T"


# ---- who is meant


async def test_by_pid_file(stage: Stage, tmp_path: Path) -> None:
    child = stage.start()
    file = tmp_path / "daemon.pid"
    with pytest.raises(NotFound, match="found no PID file"):
        OneFault("process_kill", {"pidFile": str(file)}, tmp_path).resolve()
    file.write_text("none\n")
    with pytest.raises(Refused, match="does not begin with a number"):
        OneFault("process_kill", {"pidFile": str(file)}, tmp_path).resolve()
    file.write_text(f"{child.pid}\n")
    assert OneFault("process_kill", {"pidFile": str(file)}, tmp_path).resolve() == (target(child),)
    file.write_text("1\n")
    with pytest.raises(Refused, match="the first of this machine"):
        OneFault("process_kill", {"pidFile": str(file)}, tmp_path).resolve()


LISTENER = """
import os, socket, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
open(os.environ["PORT"], "w").write(str(s.getsockname()[1]))
print("up", flush=True); time.sleep(600)
"""


async def test_by_listening_port(stage: Stage, tmp_path: Path) -> None:
    place = tmp_path / "port"
    child = stage.start(code=LISTENER, env={**os.environ, "PORT": str(place)})
    port = int(place.read_text())
    with socket.create_connection(("127.0.0.1", port)):  # a client of it is not meant
        assert OneFault("process_kill", {"port": port}, tmp_path).resolve() == (target(child),)
    with pytest.raises(NotFound, match="found no process for port=1"):
        OneFault("process_kill", {"port": 1}, tmp_path).resolve()


async def test_by_name(stage: Stage, tmp_path: Path) -> None:
    child = stage.start()
    name = psutil.Process(child.pid).name()
    both = {"name": f"{name[:4]}*", "commandLine": stage.pattern}
    assert OneFault("process_kill", both, tmp_path).resolve() == (target(child),)
    with pytest.raises(NotFound):
        OneFault("process_kill", {**both, "name": "nginx"}, tmp_path).resolve()


@pytest.mark.parametrize("name", ["process_kill", "process_pause", "file_descriptors"])
def test_a_pattern_that_matches_the_peer_is_refused(name: str, stage: Stage, tmp_path: Path) -> None:
    child = stage.start()
    with pytest.raises(Refused, match="matches this peer itself"):
        OneFault(name, {"name": "*"}, tmp_path).resolve()
    with pytest.raises(Refused, match="matches this peer itself"):
        OneFault(name, {"commandLine": stage.pattern}, tmp_path, own=frozenset({child.pid})).resolve()
    assert state(child) in "RS"


def test_threads_of_the_kernel_are_never_meant(tmp_path: Path, require: Callable[[bool, str], None]) -> None:
    require(psutil.pid_exists(2) and psutil.Process(2).name() == "kthreadd", "a host's own processes (no container)")
    with pytest.raises(NotFound, match="only threads of the kernel"):
        OneFault("process_kill", {"name": "kthreadd"}, tmp_path).resolve()


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from raftchaos.errors import Refused
from tests.system.faults.one_fault import OneFault
fault = OneFault(sys.argv[1], {"commandLine": sys.stdin.read()}, Path("/tmp"))
os.setgid(65534); os.setuid(65534)
try:
    fault.resolve()
except Refused as error:
    print(error, "|", error.hint)
"""


@pytest.mark.parametrize(
    ("name", "capability"), [("process_kill", "CAP_KILL"), ("file_descriptors", "CAP_SYS_RESOURCE")]
)
def test_without_the_permission_it_says_which(
    name: str, capability: str, stage: Stage, tmp_path: Path, require: Callable[[bool, str], None]
) -> None:
    require(os.geteuid() == 0, "the permission to become another user (run as root)")
    child = stage.start()
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, name], input=stage.pattern,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert capability in done.stdout, done
    assert child.poll() is None


# ---- restart


def command_of(folder: Path, name: str, text: str) -> None:
    """A command that the operator allows."""
    script = folder / name
    script.write_text(f"#!{sys.executable}\n{text}")
    script.chmod(0o755)


async def test_a_command_restarts_and_the_processes_tell(stage: Stage, tmp_path: Path) -> None:
    child = stage.start()
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    command_of(plugins, "restart-it", "import os, signal, sys; os.kill(int(sys.argv[1]), signal.SIGTERM)")
    wanted = {"command": ["restart-it", str(child.pid)], "commandLine": f"*{SLEEPER} {stage.word}"}
    fault = OneFault("process_restart", wanted, tmp_path, plugins=plugins)
    assert fault.resolve() == ("command:restart-it",)
    await fault.inject()
    assert child.wait(5) == -signal.SIGTERM
    assert await fault.recover() == {"restarted": 1, "touched": 1}
    await fault.fault.forget("task/1/0/here/1#0", "command:restart-it")


async def test_a_command_that_outlives_its_run_leaves_no_zombie(stage: Stage, tmp_path: Path) -> None:
    stage.start()
    command_of(tmp_path, "slow", "import time; time.sleep(1.5)")
    fault = OneFault("process_restart", {"command": ["slow"], "commandLine": stage.pattern}, tmp_path, plugins=tmp_path)
    await fault.inject()
    (command,) = [each for each in psutil.Process().children() if each.name() == "timeout"]
    await fault.fault.forget("task/1/0/here/1#0", "command:slow")
    async with asyncio.timeout(20):
        while command.is_running():  # noqa: ASYNC110 - the end of somebody else's process is looked up
            await asyncio.sleep(0.05)


async def test_a_command_that_does_nothing_has_touched_nothing(stage: Stage, tmp_path: Path) -> None:
    stage.start()
    command_of(tmp_path, "idle", "")
    command_of(tmp_path, "broken", "raise SystemExit(3)")
    for name in ("idle", "broken"):
        wanted = {"command": [name], "commandLine": stage.pattern}
        fault = OneFault("process_restart", wanted, tmp_path, plugins=tmp_path)
        if name == "idle":
            await fault.inject()
            assert await fault.recover() == {"restarted": 0, "touched": 0}
        else:
            with pytest.raises(InjectionFailed, match="exit code 3"):
                await fault.inject()


def test_only_commands_that_the_operator_allows_run(stage: Stage, tmp_path: Path) -> None:
    stage.start()
    wanted = {"command": ["true"], "commandLine": stage.pattern}
    with pytest.raises(Refused, match="runs no commands of experiments"):
        OneFault("process_restart", wanted, tmp_path).resolve()
    with pytest.raises(Refused, match=r"the command true is not run: .*No such file"):
        OneFault("process_restart", wanted, tmp_path, plugins=tmp_path).resolve()
    command_of(tmp_path, "true", "")
    (tmp_path / "true").chmod(0o777)
    with pytest.raises(Refused, match=r"the command true is not run: .*can be changed by other users"):
        OneFault("process_restart", wanted, tmp_path, plugins=tmp_path).resolve()


@pytest.fixture
def unit(require: Callable[[bool, str], None]) -> Iterator[str]:
    """A service of systemd's, running."""
    require(Path("/run/systemd/system").is_dir(), "systemd as the first process")
    name = f"raftchaos-test-{os.getpid()}.service"
    file = Path("/run/systemd/system") / name
    file.write_text("[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 600\n")
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "start", name], check=True)
    yield name
    subprocess.run(["systemctl", "stop", name], check=True)
    file.unlink()
    subprocess.run(["systemctl", "daemon-reload"], check=True)


def main_pid(unit: str) -> str:
    return subprocess.run(
        ["systemctl", "show", "-P", "MainPID", unit], capture_output=True, text=True, check=True
    ).stdout.strip()


async def test_a_unit_is_restarted(unit: str, tmp_path: Path) -> None:
    before = main_pid(unit)
    fault = OneFault("process_restart", {"unit": unit}, tmp_path)
    assert fault.fault.why_not() == ""
    assert fault.resolve() == (f"unit:{unit}",)
    await fault.inject()
    while (await fault.effects())["restarted"] == 0:  # noqa: ASYNC110 - the timeout of the test bounds it
        await asyncio.sleep(0.1)
    assert await fault.recover() == {"restarted": 1, "touched": 1}
    await until(lambda: main_pid(unit) not in (before, "0"), "another process of the unit", 60)
    with pytest.raises(NotFound, match="has no unit"):
        OneFault("process_restart", {"unit": "raftchaos-none.service"}, tmp_path).resolve()
    with pytest.raises(Refused, match="this peer itself runs in"):
        OneFault("process_restart", {"unit": unit}, tmp_path, own=frozenset({int(main_pid(unit))})).resolve()


# ---- containers


class Containerd:
    """A containerd of the test's own, and one container in it."""

    def __init__(self, folder: Path) -> None:
        self.socket, self.tasks = str(folder / "c.sock"), str(folder / "state" / "io.containerd.runtime.v2.task")
        self.name = f"rc-{os.getpid()}-{folder.name[-8:]}"
        (folder / "config.toml").write_text(
            f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.socket}"\n'
        )
        (folder / "rootfs" / "bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", folder / "rootfs" / "bin" / "busybox")
        with (folder / "log").open("wb") as log:
            self.daemon = subprocess.Popen(["containerd", "--config", str(folder / "config.toml")], stderr=log)
        end = time.monotonic() + 20
        while subprocess.run(["ctr", "-a", self.socket, "version"], capture_output=True, check=False).returncode:
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.1)
        self.ctr("run", "--detach", "--rootfs", "--label", "nerdctl/name=shop", "--label", "app=checkout",
                 str(folder / "rootfs"), self.name, "/bin/busybox", "nc", "-l", "-p", "8080")  # fmt: skip

    def ctr(self, *words: str) -> str:
        return subprocess.run(["ctr", "-a", self.socket, *words], capture_output=True, text=True, check=True).stdout

    @property
    def pid(self) -> int:
        """The first process of the container."""
        return next(int(line.split()[1]) for line in self.ctr("task", "ls").splitlines() if line.startswith(self.name))

    def running(self) -> bool:
        return f"{self.name} " in self.ctr("task", "ls") and "RUNNING" in self.ctr("task", "ls")

    def close(self) -> None:
        subprocess.run(["ctr", "-a", self.socket, "task", "rm", "-f", self.name], capture_output=True, check=False)
        subprocess.run(["ctr", "-a", self.socket, "c", "rm", self.name], capture_output=True, check=False)
        self.daemon.terminate()
        self.daemon.wait(10)


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch, require: Callable[[bool, str], None]) -> Iterator[Containerd]:
    """A running container `shop`, the only one that the faults can see."""
    require(os.geteuid() == 0, "the permission to run containers (run as root)")
    for program, package in (("containerd", "containerd"), ("runc", "runc"), ("busybox", "busybox-static")):
        require(shutil.which(program) is not None, f"{program} (install the package {package})")
    folder = Path(tempfile.mkdtemp(prefix="rc-"))
    made = Containerd(folder)
    monkeypatch.setattr("raftchaos.faults.processes.containerd.SOCKETS", (made.socket,))
    monkeypatch.setattr("raftchaos.faults.processes.containerd._TASKS", made.tasks)
    monkeypatch.setattr("raftchaos.faults.processes.containers.ENGINES", ())
    yield made
    made.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize("by", [{"container": "shop"}, {"containerLabel": "app=checkout"}, {"container": "{id}"}])
async def test_the_processes_of_a_container(by: dict[str, str], container: Containerd, tmp_path: Path) -> None:
    wanted = {name: value.format(id=container.name) for name, value in by.items()}
    first = f"process:{container.pid}"
    assert OneFault("process_pause", wanted, tmp_path).resolve() == (first,)
    assert OneFault("process_pause", {**wanted, "port": 8080}, tmp_path).resolve() == (first,)
    with pytest.raises(NotFound):
        OneFault("process_pause", {**wanted, "name": "nginx"}, tmp_path).resolve()
    with pytest.raises(NotFound, match="found no running container nobody"):
        OneFault("process_pause", {"container": "nobody"}, tmp_path).resolve()
    pause = OneFault("process_pause", wanted, tmp_path)
    await pause.inject()
    assert psutil.Process(container.pid).status() == psutil.STATUS_STOPPED
    await pause.recover()
    kill = OneFault("process_kill", wanted, tmp_path)
    await kill.inject()
    await until(lambda: not container.running(), "the end of the container")
    assert (await kill.recover())["touched"] == 1

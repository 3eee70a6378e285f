"""What the README tells a newcomer to type does what it says: its commands and its Python run as they stand there.

Only what would meet other programs of this machine is changed: ports are replaced by free ones, and the peers keep
their data below a temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from raftchaos.identity.local import forget_socket
from raftchaos.launch import answers, free_port
from tests.system.harness import Sampler, wait_until

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PORTS = ("7480", "7481", "7482", "7483", "7484", "7485", "9001", "9101")
ENDLESS = ("raftchaos peer ", "python3 -m http.server ")
"""What stays in a terminal of its own."""
MARK = "RAFTCHAOS_TEST_README"


def section(title: str) -> str:
    """The text below a heading of the second level, without its subsections."""
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^##+ |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(found)


def commands(text: str) -> list[str]:
    """The lines of the indented blocks, in order."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line.strip() for line in outside.splitlines() if line.startswith("    ") and line.strip()]


def fenced(text: str, language: str) -> str:
    """The one fenced block of that language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(found)


class Terminal:
    """A shell of a newcomer, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {port: str(free_port()) for port in PORTS}
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_STATE_HOME": str(folder / "state"),
            "RAFTCHAOS_PEER": self.here("127.0.0.1:7480"),
            MARK: str(folder),
        }
        self.endless: list[tuple[str, subprocess.Popen[bytes]]] = []

    def here(self, text: str) -> str:
        """The text with the ports of this terminal."""
        return re.sub(rf"\b(?:{'|'.join(PORTS)})\b", lambda found: self.ports[found[0]], text)

    def start(self, line: str) -> None:
        """Leaves a command running in a terminal of its own."""
        with (self.folder / f"{len(self.endless)}.log").open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self.here(line)}"],
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.endless.append((line, process))

    def type(self, line: str, seconds: float = 120) -> str:
        """Runs a command that ends well; what it wrote on stdout."""
        done = subprocess.run(
            ["bash", "-c", self.here(line)], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout

    def processes(self) -> list[psutil.Process]:
        """Everything that was started here and still runs."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def close(self) -> None:
        """Ends what is left, whatever happened."""
        for _, process in self.endless:
            process.kill()
            process.wait(10)
        for left in self.processes():
            with contextlib.suppress(psutil.Error):
                left.kill()
        for port in self.ports.values():
            forget_socket(f"127.0.0.1:{port}")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    made.close()


def listens(port: str) -> bool:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=1):
        return True


def begin(terminal: Terminal, line: str) -> None:
    """Starts something endless and waits, as a person does, until it is there."""
    if line.startswith("raftchaos peer ") and "listen" not in line:  # the ports that are meant are the default ones
        line += " --listen 127.0.0.1:7480 --raft-listen 127.0.0.1:7481"
    terminal.start(line)
    listen = re.search(r" --listen (\S+)", line)
    if listen:
        address = terminal.here(listen[1])
        wait_until(lambda: answers(address, "/readyz"), 30, f"{line} is ready")
    else:
        wait_until(lambda: listens(terminal.ports["9001"]), 20, f"{line} listens")


def test_the_commands_of_the_quick_start(terminal: Terminal) -> None:
    text = section("Use it")
    (terminal.folder / "experiment.yaml").write_text(fenced(text, "yaml"))
    shown: dict[str, str] = {}
    traffic: Sampler | None = None
    try:
        for line in commands(text):
            if line.startswith(ENDLESS):
                begin(terminal, line)
                continue
            if line.startswith("raftchaos run") and traffic is None:
                traffic = Sampler(int(terminal.ports["9101"]), interval=0.2)
            shown[line] = terminal.type(line)
    finally:
        if traffic is not None:
            traffic.close()
    assert [line.split()[3] for line, _ in terminal.endless if line.startswith("raftchaos peer")] == [
        "node-1",
        "node-2",
        "node-3",
    ]
    expected = {
        "raftchaos proxy add web 127.0.0.1:9101 127.0.0.1:9001": "node-1 relays",
        "curl http://127.0.0.1:9101/": "experiment.yaml",
        "raftchaos validate experiment.yaml": "1 document is valid",
        "raftchaos run experiment.yaml --dry-run": "would be accepted",
        "raftchaos run experiment.yaml --wait": "verdict passed",
        "raftchaos status": "3 of 3 voters reachable",
        "raftchaos task list": "passed",
        'raftchaos halt --reason "customers complain"': "node-1, node-2, node-3",
        "raftchaos resume": "lifted: halt-",
    }
    assert shown.keys() == expected.keys()
    for line, word in expected.items():
        assert word in shown[line], (line, shown[line])

    for _, process in reversed(terminal.endless):
        process.terminate()
    codes = {line: process.wait(20) for line, process in terminal.endless if line.startswith("raftchaos peer")}
    assert set(codes.values()) == {0}, codes
    try:
        wait_until(lambda: not terminal.processes(), 15, "every process of the peers has ended")
    except AssertionError as error:
        raise AssertionError(f"{error}: {[left.cmdline() for left in terminal.processes()]}") from None


def test_every_other_command_that_is_named_exists(terminal: Terminal) -> None:
    named = {found[1] for found in re.finditer(r"`raftchaos ([a-z]+(?: [a-z]+)?)", README)}
    assert "fault types" in named
    for words in sorted(named):
        assert f"Usage: raftchaos {words}" in terminal.type(f"raftchaos {words} --help")
    for template in ("parallel", "sequential", "leader-assigned", "peer-to-peer"):
        assert f"`{template}`" in README
        assert "document" in terminal.type(f"raftchaos template {template} | raftchaos validate -")


def test_the_settings_of_a_peer(terminal: Terminal) -> None:
    """Everything of the config file that is shown is taken; its folder is not one that a test may write to."""
    (terminal.folder / "peer.yaml").write_text(
        terminal.here(re.findall(r"^```yaml\n(name: .*?)^```", README, re.MULTILINE | re.DOTALL)[0])
    )
    terminal.start("raftchaos peer --config peer.yaml --data-dir data")
    address = terminal.here("127.0.0.1:7480")
    wait_until(lambda: answers(address, "/readyz"), 30, "the peer is ready")
    wait_until(lambda: "zone=eu-1" in terminal.type("raftchaos node list"), 10, "it is registered")
    assert terminal.here("127.0.0.1:9101") in terminal.type("raftchaos proxy list")


def test_the_python_of_the_readme(terminal: Terminal) -> None:
    (terminal.folder / "snippet.py").write_text(fenced(section("From Python"), "python"))
    assert terminal.type("python3 snippet.py").split() == ["completed", "inconclusive"]
    assert not terminal.processes()


def test_the_quick_start_example(terminal: Terminal) -> None:
    shown = terminal.type(f"python3 {ROOT / 'examples' / 'quickstart.py'}")
    assert "the task completed, verdict passed" in shown
    for node in ("node-1", "node-2"):
        assert f"slow web on {node}: succeeded" in shown
    assert not terminal.processes()

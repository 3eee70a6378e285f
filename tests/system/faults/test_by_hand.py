"""Faults put on by hand, pulses, plug-ins and what is listed, on real peers and measured from outside."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from raftchaos import limits
from raftchaos.launch import free_port
from tests.system.harness import ApiError, Cluster, PeerProcess, wait_until

BOUND = limits.LEASE + limits.REVERT
EXAMPLE = Path(__file__).parents[3] / "examples" / "plugins" / "executables"


class Answer(BaseHTTPRequestHandler):
    """A service that answers at once."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        return


class Stage:
    """Two peers. The first has a proxy before a service, and allows the example's plug-in; the second has neither."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.port = free_port()
        self.plugins = folder / "plugins"
        shutil.copytree(EXAMPLE, self.plugins)
        for place in (self.plugins, *self.plugins.rglob("*")):
            place.chmod(0o755)
        self.cluster = Cluster(folder)
        self.flag = folder / "flag"

    def start(self) -> Stage:
        upstream = f"127.0.0.1:{self.server.server_port}"
        proxy = {"name": "web", "listen": f"127.0.0.1:{self.port}", "upstream": upstream}
        self.peer = PeerProcess("node-1", self.folder, [proxy])
        self.cluster.peers["node-1"] = self.peer
        self.peer.start(None, ("--plugins", str(self.plugins)))
        wait_until(self.peer.ready, 30, "node-1 is ready")
        self.other = self.cluster.add("node-2", self.peer)
        self.cluster.wait_ready()
        return self

    def command(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The command line, with JSON as its answer."""
        asked = [sys.executable, "-m", "raftchaos.cli.main", *words, "-o", "json"]
        peer = {"RAFTCHAOS_PEER": f"127.0.0.1:{self.peer.api}"}
        done = subprocess.run(
            asked, env={**os.environ, **peer}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def inject(self, fault: str, *settings: str, duration: float = 120, code: int = 0) -> dict[str, Any]:
        options = [word for setting in settings for word in ("--set", setting)]
        return self.command(
            "fault", "inject", fault, "--node", "node-1", "--duration", str(duration), *options, code=code
        )

    def listed(self) -> dict[tuple[str, str], str]:
        """Marks by fault and target."""
        return {(one["fault"], one["target"]): one["mark"] for one in self.command("fault", "list")["faults"]}

    def seconds(self) -> float:
        """How long a request takes, by this client's own clock."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"ok"
        return time.monotonic() - began

    def task(self, task: str) -> dict[str, Any]:
        found: dict[str, Any] = self.peer.get(f"/api/v1/tasks/{task}")
        return found

    def set_flag(self) -> str:
        settings = ("plugin=maintenance-page", f"arguments.file={self.flag}")
        task: str = self.inject("custom", *settings)["id"]
        wait_until(self.flag.exists, 15, "the plug-in is on")
        return task

    def close(self) -> None:
        for peer in self.cluster.peers.values():
            peer.end()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("by-hand"))
    try:
        yield made.start()
    finally:
        made.close()


def test_a_pulse_is_felt_and_not_felt_in_turn(stage: Stage) -> None:
    settings = ("latencyMs=400", "proxy=web", "pulse.activeSeconds=1", "pulse.dormantSeconds=1")
    task = stage.inject("latency", *settings)["id"]
    seen: list[bool] = []
    end = time.monotonic() + 30
    while time.monotonic() < end and sum(a != b for a, b in itertools.pairwise(seen)) < 4:
        seen.append(stage.seconds() > 0.35)
    assert sum(a != b for a, b in itertools.pairwise(seen)) >= 4, seen
    assert stage.listed() == {("latency", "proxy:web"): ""}
    assert len(stage.task(task)["steps"][0]["runs"]) == 1
    stage.command("fault", "recover", task)
    wait_until(lambda: stage.task(task)["status"] == "cancelled", 15, "it is cancelled")
    assert all(stage.seconds() < 0.3 for _ in range(5))
    (run,) = stage.task(task)["steps"][0]["runs"]
    assert run["effects"][0]["touched"] >= 2
    assert stage.listed() == {}


def test_what_touched_nothing_says_so(stage: Stage) -> None:
    task = stage.inject("http_error", "proxy=web", duration=1)["id"]
    wait_until(lambda: stage.task(task)["status"] == "completed", 20, "it has ended")
    assert stage.task(task)["verdict"] == "inconclusive"
    assert "no request reached proxy web" in stage.task(task)["reason"]


def test_a_task_that_one_target_cannot_do_is_refused_whole(stage: Stage) -> None:
    step = {"name": "s", "scenario": "latency", "durationSeconds": 1, "parameters": {"proxy": "web"}}
    document = {
        "apiVersion": "raftchaos.io/v1",
        "kind": "ChaosOrchestration",
        "metadata": {"name": "half"},
        "spec": {"steps": [{**step, "scenario": "custom", "parameters": {"plugin": "maintenance-page"}}]},
    }
    with pytest.raises(ApiError, match="node-2: it cannot do custom") as refused:
        stage.other.post("/api/v1/tasks", {"document": document})
    assert refused.value.status == 409
    document["spec"]["targetNodes"] = {"names": ["node-1"]}  # type: ignore[index]
    document["spec"]["steps"][0]["parameters"] = {"plugin": "nobody"}  # type: ignore[index]
    with pytest.raises(ApiError, match="node-1: the node node-1 has no plug-in nobody"):
        stage.other.post("/api/v1/tasks", {"document": document})
    preview = stage.other.post("/api/v1/tasks/preview", {"document": document})
    assert not preview["accepted"]
    assert "no plug-in nobody" in preview["refusals"][0]["error"]
    assert not stage.flag.exists()


def test_a_plug_in_goes_on_and_off(stage: Stage) -> None:
    task = stage.set_flag()
    assert stage.listed() == {("custom", "plugin:maintenance-page"): "unreadable"}
    stage.command("fault", "recover", f"{task}/1/0/node-1/1")
    wait_until(lambda: not stage.flag.exists(), 10, "it is off")
    wait_until(lambda: stage.task(task)["status"] == "cancelled", 15, "it is cancelled")
    assert stage.task(task)["steps"][0]["runs"][0]["effects"] == [{"touched": 1}]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_plug_in_ends_without_its_main(stage: Stage, number: int) -> None:
    stage.set_flag()
    stage.peer.signal(number)
    wait_until(lambda: not stage.flag.exists(), BOUND + 10, "the reaper has taken it back")
    if number == signal.SIGKILL:
        stage.peer.wait_exit()
        stage.peer.start(None, ("--plugins", str(stage.plugins)))
    else:
        stage.peer.signal(signal.SIGCONT)
        if stage.peer.process is not None and stage.peer.process.poll() is not None:
            stage.peer.start(None, ("--plugins", str(stage.plugins)))
    stage.cluster.wait_ready(60)


def test_a_plug_in_ends_at_the_next_start_when_all_were_killed(stage: Stage) -> None:
    task = stage.set_flag()
    children = stage.peer.children()
    for child in children:
        child.kill()
    stage.peer.kill()
    if stage.flag.exists():  # else a reaper was quicker than the kill
        stage.peer.start(None, ("--plugins", str(stage.plugins)))
        wait_until(lambda: not stage.flag.exists(), 30, "the new start has taken it back")
    else:
        stage.peer.start(None, ("--plugins", str(stage.plugins)))
    stage.cluster.wait_ready(60)
    wait_until(lambda: stage.task(task)["status"] == "failed", 30, "its task has ended")
    assert stage.task(task)["steps"][0]["runs"][0]["effects"] in ([{"touched": 1}], [])

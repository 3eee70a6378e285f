"""Which processes a selection means: patterns, ports, containers, and the guard."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from raftchaos import limits
from raftchaos.errors import NotFound, Refused
from raftchaos.faults.processes import containerd, containers, selecting
from raftchaos.faults.processes.containers import Container, belongs, ids_in
from raftchaos.faults.processes.listening import listening_inodes
from raftchaos.faults.processes.proc import Handle, Process, process
from raftchaos.faults.processes.undo import resume
from raftchaos.faults.processes.units import within
from raftchaos.model.faults import FAULTS
from raftchaos.model.faults.process_kill import ProcessKillParameters

NGINX = Process(10, 1, "S", "nginx", ("nginx: master process", "/usr/sbin/nginx"))
JAVA = Process(11, 2, "S", "java", ("/usr/bin/java", "-jar", "checkout.jar"))
LONG = Process(12, 3, "S", "a-name-that-is-", ("/opt/a-name-that-is-long", "-x"))
KERNEL = Process(2, 0, "S", "kthreadd", (), kernel=True)
EVERYBODY = [Process(1, 0, "S", "init", ("/sbin/init",)), KERNEL, NGINX, JAVA, LONG]


@pytest.mark.parametrize(
    ("name", "command_line", "pids"),
    [
        ("nginx", None, [10]),
        ("java*", None, [11]),
        ("a-name-that-is-long", None, [12]),
        ("NGINX", None, []),
        (None, "*checkout.jar*", [11]),
        (None, "checkout.jar", []),
        ("java", "*nginx*", []),
        (None, None, [1, 2, 10, 11, 12]),
    ],
)
def test_patterns(name: str | None, command_line: str | None, pids: list[int]) -> None:
    assert [each.pid for each in selecting.matching(EVERYBODY, name, command_line)] == pids


def test_the_guard() -> None:
    assert selecting.guarded([KERNEL, NGINX], {11}, "x") == [NGINX]
    with pytest.raises(NotFound, match="only threads of the kernel"):
        selecting.guarded([KERNEL], (), "x")
    with pytest.raises(NotFound, match="found no process for x"):
        selecting.guarded([], (), "x")
    with pytest.raises(Refused, match=r"this peer itself: process 11 \(java\)"):
        selecting.guarded([NGINX, JAVA], {11}, "x")
    with pytest.raises(Refused, match="the first of this machine"):
        selecting.guarded(EVERYBODY, (), "x")
    with pytest.raises(Refused, match="at most 200"):
        selecting.guarded([Process(pid, 1, "S", "a", ("a",)) for pid in range(300, 501)], (), "x")


def test_targets_fit_and_stay_different() -> None:
    assert selecting.target("process", "12") == "process:12"
    long = [selecting.target("processes", "x" * 300 + end) for end in "ab"]
    assert long[0] != long[1]
    assert all(len(name) == 2 * limits.NAME for name in long)


def test_a_handle_means_one_process_only() -> None:
    here = process(os.getpid())
    assert here is not None
    with Handle(here.pid, here.start) as handle:
        assert handle.send(0)
    with Handle(here.pid, here.start + 1) as handle:
        assert not handle.send(0)
        assert handle.look() is None


# ---- ports

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000 20 4 30 10 -1
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000 100 0 0 10 0
"""


def test_listening_sockets_of_a_port() -> None:
    assert listening_inodes(TABLE, 8080) == {"4711"}
    assert listening_inodes(TABLE, 80) == {"4713"}
    assert listening_inodes(TABLE, 50_000) == set()
    assert listening_inodes("", 80) == set()


# ---- containers

ID = "a3b4c5d6e7f8" + "0" * 52


@pytest.mark.parametrize(
    "groups",
    [
        f"0::/system.slice/docker-{ID}.scope",
        f"12:pids:/docker/{ID}\n0::/",
        f"0::/machine.slice/libpod-{ID}.scope/container",
        f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope",
        f"0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}",
    ],
)
def test_control_groups_of_containers(groups: str) -> None:
    assert belongs(groups, ID)
    assert ids_in(groups) == {ID}
    assert not belongs(groups, "b" * 64)


def test_control_groups_of_others() -> None:
    assert belongs("4:memory:/default/web", "web")
    assert not belongs("0::/user.slice/web-2.scope", "web")
    assert not belongs("0::/system.slice/webserver.service", "web")
    assert ids_in("0::/user.slice/" + "f" * 65) == set()
    assert within("0::/system.slice/a.service/sub", "/system.slice/a.service")
    assert not within("0::/system.slice/a.service2", "/system.slice/a.service")


def test_names_and_labels() -> None:
    one = Container(ID, frozenset({"web"}), frozenset({"app=shop", "tier"}))
    assert one.answers_to("web", None)
    assert one.answers_to(ID[:12], "app=shop")
    assert one.answers_to(None, "app")
    assert not one.answers_to("we", None)
    assert not one.answers_to("web", "app=other")
    assert not one.answers_to(None, "ap")


class Engine(http.server.BaseHTTPRequestHandler):
    """Answers as Docker and Podman do."""

    answer: bytes = b""

    def do_GET(self) -> None:
        assert self.path == "/containers/json"
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def address_string(self) -> str:
        return "test"

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def engine(data_dir: Path) -> Iterator[str]:
    """A socket of an engine with one container."""
    listed = [{"Id": ID, "Names": ["/web"], "Labels": {"app": "shop"}, "State": "running"}]
    handler = type("One", (Engine,), {"answer": json.dumps(listed).encode()})
    place = str(data_dir / "engine.sock")
    with socketserver.UnixStreamServer(place, handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield place
        server.shutdown()
        thread.join()


def test_an_engine_is_asked_with_one_read(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert containers.engine_list(engine) == [Container(ID, frozenset({"web"}), frozenset({"app=shop"}))]
    monkeypatch.setattr(containers, "ENGINES", (engine,))
    monkeypatch.setattr(containerd, "SOCKETS", ())
    groups = {10: f"0::/system.slice/docker-{ID}.scope", 11: "0::/"}
    monkeypatch.setattr(containers, "groups_of", lambda pid: groups.get(pid, ""))
    assert containers.processes_in("web", None, [NGINX, JAVA]) == {10}
    assert containers.processes_in(None, "app=shop", [NGINX, JAVA]) == {10}
    with pytest.raises(NotFound, match="found no running container db"):
        containers.processes_in("db", None, [NGINX, JAVA])


def test_an_id_needs_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "ENGINES", ())
    monkeypatch.setattr(containerd, "SOCKETS", ())
    monkeypatch.setattr(containers, "groups_of", lambda pid: f"0::/docker/{ID}" if pid == 11 else "0::/")
    assert containers.processes_in(ID[:12], None, [NGINX, JAVA]) == {11}
    with pytest.raises(Refused, match="has no Docker, Podman or containerd"):
        containers.processes_in("web", None, [NGINX, JAVA])


def test_an_engine_that_answers_nonsense() -> None:
    with pytest.raises(ValueError, match="no list of containers"):
        containers.of_engine([{"Names": []}])
    with pytest.raises(ValueError, match="no list of containers"):
        containers.of_engine([1])


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


def test_the_answer_of_containerd() -> None:
    label = _field(1, b"nerdctl/name") + _field(2, b"web")
    one = _field(1, b"id-1") + _field(2, label) + bytes([5 << 3, 0x96, 0x01])
    assert containerd.listed(_field(1, one)) == [("id-1", {"nerdctl/name": "web"})]
    assert containerd.listed(b"") == []
    for damaged in (b"\x0a\x7f", b"\x0a", b"\x0b\x01", b"\xff" * 11):
        with pytest.raises(ValueError, match="it answered"):
            containerd.listed(damaged)


def test_a_socket_that_speaks_no_http_2_is_told(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data_dir / "tasks" / "default").mkdir(parents=True)
    monkeypatch.setattr(containerd, "_TASKS", str(data_dir / "tasks"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data_dir / "sock"))
        listener.listen()

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65_536)
                connection.sendall(bytes(9))  # data of no stream
                connection.recv(65_536)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OSError, match="does not speak HTTP/2"):
            containerd.containers(str(data_dir / "sock"))
        thread.join()


# ---- documents


def bad(name: str, /, **parameters: object) -> str:
    """What is said about parameters that are not good."""
    with pytest.raises(ValidationError) as told:
        FAULTS[name].parameters.model_validate(parameters)
    return "; ".join(problem["msg"] for problem in told.value.errors())


def test_bad_parameters_are_told() -> None:
    assert "which processes are meant" in bad("process_kill")
    assert "which processes are meant" in bad("process_pause")
    assert "process_pause stops and continues" in bad("process_kill", name="x", signal="STOP")
    assert "name of a signal" in bad("process_kill", name="x", signal="SIGNOTHING")
    assert "absolute path" in bad("process_kill", pidFile="run/x.pid")
    assert "absolute path" in bad("disk_fill", path="/var/../etc")
    assert "less than or equal to 100" in bad("cpu_load", percent=150)
    assert "less than or equal to 100" in bad("memory_pressure", percent=150)
    assert "either bytes or percent" in bad("memory_pressure")
    assert "bytes or percent, not both" in bad("disk_fill", path="/x", bytes=1, percent=1)
    assert "greater than or equal to 16777216" in bad("disk_fill", path="/x", leaveFreeBytes=0)
    assert "at least one of readBytesPerSecond" in bad("disk_throttle", name="x", path="/x")
    assert "either count, or" in bad("file_descriptors")
    assert "either count, or" in bad("file_descriptors", count=1, name="x")
    assert "either unit" in bad("process_restart")
    assert "a unit alone" in bad("process_restart", unit="a.service", name="x")
    assert "beside the command" in bad("process_restart", command=["x"])
    assert "plug-in folder" in bad("process_restart", command=["../x"], name="x")
    assert "at least 1 item" in bad("process_restart", command=[], name="x")
    assert "full name of a systemd unit" in bad("process_restart", unit="--all")
    assert "Extra inputs" in bad("cpu_load", cores=1)
    assert "valid integer" in bad("cpu_load", workers="2")


def test_good_parameters_are_complete() -> None:
    kill = ProcessKillParameters.model_validate({"name": "x", "signal": "HUP", "port": 80})
    assert kill.signal == "SIGHUP"
    assert kill.text() == "name=x,port=80"
    for name, fault in FAULTS.items():
        if fault.parameters.__module__.endswith(f".{name}"):
            assert fault.parameters.model_validate(dict(fault.example)).complete() is not None


def test_a_pid_file_that_is_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    """Opening one waits for a writer, and the thread that waits is lost for taking faults back."""
    os.mkfifo(tmp_path / "pid")
    with pytest.raises(Refused, match="it is no regular file"):
        selecting.pid_in(str(tmp_path / "pid"))


# clone(CLONE_VFORK | SIGCHLD): the parent waits, as one that waits for a disk does, and takes no SIGSTOP meanwhile
WAITS = """
import ctypes, os, time
if ctypes.CDLL(None).syscall(56, 0x4000 | 17, 0, 0, 0, 0) == 0:
    os.write(1, b"waits\\n")
    time.sleep(1)
    os._exit(0)
print("goes on", flush=True)
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of a system call")
def test_a_process_that_has_not_taken_its_sigstop_yet_goes_on_too() -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"waits\n"
        found = process(started.pid)
        assert found is not None
        os.kill(started.pid, signal.SIGSTOP)
        resume({"pid": started.pid, "start": found.start})
        try:
            assert started.stdout.readline() == b"goes on\n"
        finally:
            started.kill()

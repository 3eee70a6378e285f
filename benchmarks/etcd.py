"""Three members of etcd on loopback, to stand beside."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.load import Target
from raftchaos.launch import free_port

READY_SECONDS = 30
KEY, VALUE = b"node-1", b"x" * 50
"""About what a command of raftchaos takes in its log."""


class Etcd:
    """A running cluster: how to write to its leader, and its processes."""

    def __init__(self, leader: int, processes: list[subprocess.Popen[bytes]]) -> None:
        body = json.dumps({"key": base64.b64encode(KEY).decode(), "value": base64.b64encode(VALUE).decode()})
        message = b"\x0a%c%b\x12%c%b" % (len(KEY), KEY, len(VALUE), VALUE)  # etcdserverpb.PutRequest: key, value
        self.gateway = Target(f"http://127.0.0.1:{leader}/v3/kv/put", body.encode())
        self.grpc = Target(
            f"http://127.0.0.1:{leader}/etcdserverpb.KV/Put", b"\0" + len(message).to_bytes(4, "big") + message, True
        )
        self.processes = [psutil.Process(each.pid) for each in processes]
        self._leader = leader

    def written(self) -> int:
        """How often anything was written so far."""
        return int(_status(self._leader)["header"]["revision"])


def found() -> bool:
    """Whether etcd is installed."""
    return shutil.which("etcd") is not None


@contextlib.contextmanager
def etcd(root: Path) -> Iterator[Etcd]:
    """Three members with their data in that folder. They end with the context."""
    ports = [(free_port(), free_port()) for _ in range(3)]
    members = ",".join(f"m{n}=http://127.0.0.1:{peer}" for n, (_, peer) in enumerate(ports))
    processes = []
    try:
        for number, (client, peer) in enumerate(ports):
            words = [
                "etcd", "--name", f"m{number}", "--data-dir", str(root / f"m{number}"), "--logger", "zap",
                "--log-outputs", str(root / f"m{number}.log"), "--initial-cluster", members,
                "--listen-client-urls", f"http://127.0.0.1:{client}",
                "--advertise-client-urls", f"http://127.0.0.1:{client}",
                "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            ]  # fmt: skip
            processes.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        yield Etcd(_leader([client for client, _ in ports]), processes)
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


def _status(client: int) -> dict[str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", client, timeout=2)
    try:
        connection.request("POST", "/v3/maintenance/status", "{}")
        return dict(json.loads(connection.getresponse().read()))
    finally:
        connection.close()


def _leader(clients: list[int]) -> int:
    """The client port of the member that leads."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        for client in clients:
            with contextlib.suppress(OSError, http.client.HTTPException, KeyError, ValueError):
                status = _status(client)
                if status["leader"] == status["header"]["member_id"]:
                    return client
        time.sleep(0.2)
    raise SystemExit(f"etcd had no leader within {READY_SECONDS} s")

"""Committed writes beside a three-member etcd, in turns in one run, with the same HTTP client.

    python benchmarks/against_etcd.py [--rounds N]        prints JSON; needs Debian's etcd-server

etcd takes `POST /v3/kv/put` at its HTTP gateway, raftchaos `POST /api/v1/nodes/NAME/undrain`. etcd always syncs its
log: `disk` compares with its data on the same disk, `process` with its data on tmpfs, where a sync costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cluster import Target, commits
from raftchaos.launch import free_port
from tests.system.harness import Cluster

TMPFS = Path("/dev/shm")
READY_SECONDS = 30


@contextlib.contextmanager
def etcd(root: Path) -> Iterator[Target]:
    """Three members; a write to the leader. They end with the context."""
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
        yield _etcd_leader([client for client, _ in ports])
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


def _etcd_leader(clients: list[int]) -> Target:
    import http.client

    body = {"key": base64.b64encode(b"key").decode(), "value": base64.b64encode(b"x" * 200).decode()}
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        for client in clients:
            with contextlib.suppress(OSError, http.client.HTTPException, KeyError, ValueError):
                connection = http.client.HTTPConnection("127.0.0.1", client, timeout=2)
                connection.request("POST", "/v3/maintenance/status", "{}")
                status = json.loads(connection.getresponse().read())
                if status["leader"] == status["header"]["member_id"]:
                    return Target(f"http://127.0.0.1:{client}/v3/kv/put", body)
        time.sleep(0.2)
    raise SystemExit(f"etcd had no leader within {READY_SECONDS} s")


@contextlib.contextmanager
def raftchaos(root: Path, durability: str) -> Iterator[Target]:
    """Three peers; a write to the leader."""
    cluster = Cluster(root, ("--durability", durability))
    try:
        cluster.start(3)
        yield Target(f"http://127.0.0.1:{cluster.leader().api}/api/v1/nodes/node-1/undrain", {})
    finally:
        cluster.end()


def compare(durability: str, folder: Path | None, rounds: int) -> dict[str, Any]:
    """Both, in turns, at 1 and 64 in flight; the median round of each."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as theirs,
        tempfile.TemporaryDirectory() as ours,
        etcd(Path(theirs)) as first,
        raftchaos(Path(ours), durability) as second,
    ):
        result: dict[str, Any] = {}
        for flight in (1, 64):
            found: dict[str, list[dict[str, float]]] = {"etcd": [], "raftchaos": []}
            for _ in range(rounds):
                for name, target in (("etcd", first), ("raftchaos", second)):
                    found[name].append(asyncio.run(commits(target, flight)))
            result[f"{flight} in flight"] = {
                name: sorted(each, key=lambda one: one["per_second"])[len(each) // 2] for name, each in found.items()
            }
        return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    if shutil.which("etcd") is None:
        raise SystemExit("found no etcd: install Debian's etcd-server")
    result = {"disk": compare("disk", None, rounds), "process": compare("process", TMPFS, rounds)}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

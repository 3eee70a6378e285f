"""Bad input: a clear message, the documented exit code, no traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raftchaos.launch import free_port
from tests.system.harness import ApiError, Cluster, PeerProcess, call, orchestration

GOOD = """
apiVersion: raftchaos.io/v1
kind: ChaosOrchestration
metadata: {name: good}
spec:
  steps: [{name: test, scenario: latency}]
"""


def cli(*words: str, peer: PeerProcess | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the command line; never through a shell."""
    environment = {**os.environ, "RAFTCHAOS_PEER": f"127.0.0.1:{peer.api if peer else free_port()}"}
    return subprocess.run(
        [sys.executable, "-m", "raftchaos.cli.main", *words],
        capture_output=True, text=True, timeout=timeout, env=environment, check=False,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    said = done.stdout + done.stderr
    assert done.returncode == code, (done.returncode, said)
    assert "Traceback" not in said, said
    for word in words:
        assert word in said, (word, said)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("just: a\n  broken: b\n", ["experiment.yaml:2"]),
        ("\x00\x01\x02", []),
        ("- a\n- b\n", ["mapping"]),
        (GOOD.replace("ChaosOrchestration", "ChaosOrchestrion"), ["ChaosOrchestrion", "ChaosOrchestration"]),
        (GOOD.replace("latency", "latencyy"), ["latencyy", "latency"]),
        (GOOD.replace("scenario: latency", "scenario: latency, durationSeconds: -3"), ["durationSeconds", "-3"]),
        (GOOD.replace("latency", "latency, duratoinSeconds: 3"), ["duratoinSeconds", "durationSeconds"]),
        (GOOD.replace("steps:", "schedule: '* * * * *'\n  steps:"), ["schedule", "not supported yet"]),
        (GOOD + "spec: {}\n", ["spec"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["validate", "run"])
def test_an_invalid_file(tmp_path: Path, command: str, text: str, words: list[str]) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(text)
    refused(cli(command, str(file)), 2, "experiment.yaml", *words)


def test_all_errors_of_a_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(
        GOOD.replace("scenario: latency", "scenario: latency, durationSeconds: -3, colour: red").replace(
            "good", "Bad Name"
        )
    )
    refused(cli("validate", str(file)), 2, "durationSeconds", "colour", "metadata.name")


def test_a_large_file_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    with file.open("wb") as out:
        out.truncate(50 * 1024 * 1024)
    began = time.monotonic()
    refused(cli("validate", str(file)), 2, "large.yaml")
    refused(cli("run", str(file)), 2, "large.yaml")
    assert time.monotonic() - began < 10


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    refused(cli("run", str(tmp_path / "missing.yaml")), 2, "missing.yaml")
    refused(cli("run", str(tmp_path)), 2)


def test_no_cluster(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    refused(cli("run", str(file)), 3)
    refused(cli("status"), 3)


def test_a_target_that_matches_no_node(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start(1)
    file = tmp_path / "nobody.yaml"
    file.write_text(GOOD.replace("  steps:", "  targetNodes: {names: [nobody]}\n  steps:"))
    refused(cli("run", str(file), peer=cluster["node-1"]), 5, "nobody")
    file.write_text(GOOD.replace("  steps:", "  targetNodes: {selector: {zone: moon}}\n  steps:"))
    refused(cli("run", str(file), peer=cluster["node-1"]), 5, "zone")


def test_ports_in_use(cluster: Cluster, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for which in ("api", "raft"):
            peer = PeerProcess(f"peer-{which}", tmp_path)
            setattr(peer, which, port)
            cluster.peers[peer.name] = peer
            peer.start()
            assert peer.wait_exit() == 5, peer.output()
            assert f"127.0.0.1:{port}" in peer.output()
            assert "Traceback" not in peer.output()
            peer.wait_childless()
            # it has not founded a cluster: with a free port and --join it can still become what was meant
            assert not (peer.data / "raft").exists()


def test_the_port_of_a_proxy_in_use(cluster: Cluster, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        proxy = {"name": "web", "listen": listen, "upstream": "127.0.0.1:1"}
        peer = cluster.add("node-1", proxies=[proxy])
        assert peer.wait_exit() == 5, peer.output()
        assert listen in peer.output()
        assert not (peer.data / "raft").exists()
    peer.start()
    cluster.wait_ready()
    assert peer.stop() == 0
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(listen.rpartition(":")[2])))
        taken.listen()
        peer.start()  # this time it has a cluster, and finds out once its proxy process runs
        assert peer.wait_exit() == 5, peer.output()
        assert "Traceback" not in peer.output()
        peer.wait_childless()


def test_an_unusable_data_directory(cluster: Cluster, tmp_path: Path) -> None:
    peer = PeerProcess("node-1", tmp_path)
    cluster.peers["node-1"] = peer
    peer.data.write_text("this is a file")
    peer.start()
    assert peer.wait_exit() == 5, peer.output()
    assert str(peer.data) in peer.output()
    assert "Traceback" not in peer.output()


def test_two_peers_on_one_data_directory(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start(1)
    second = PeerProcess("node-2", tmp_path)
    second.data = cluster["node-1"].data
    cluster.peers["node-2"] = second
    second.start()
    assert second.wait_exit() == 5, second.output()
    assert str(second.data) in second.output()
    assert cluster["node-1"].ready()


def test_joining_elsewhere_needs_a_token(tmp_path: Path) -> None:
    done = cli("peer", "--name", "a", "--data-dir", str(tmp_path / "d"), "--join", f"192.0.2.1:{free_port()}")
    refused(done, 5, "raftchaos token create --join")


def test_joining_nobody(tmp_path: Path, cluster: Cluster) -> None:
    peer = PeerProcess("node-1", tmp_path)
    cluster.peers["node-1"] = peer
    peer.start(join=free_port())
    assert peer.wait_exit(60) == 3, peer.output()
    assert "Traceback" not in peer.output()


def test_the_api_takes_nothing_it_does_not_know(cluster: Cluster) -> None:
    cluster.start(1)
    port = cluster["node-1"].api
    for body in ([], "text", {"document": 3}, {}, {"document": orchestration("parallel", []), "surprise": 1}):
        with pytest.raises(ApiError) as error:
            call(port, "POST", "/api/v1/tasks", body)
        assert 400 <= error.value.status < 500, body
        assert error.value.body["code"], error.value.body
    with pytest.raises(ApiError) as unknown:
        call(port, "GET", "/api/v1/nothing")
    assert unknown.value.status == 404
    with pytest.raises(ApiError) as large:
        call(port, "POST", "/api/v1/tasks", {"document": {"x": "y" * 400_000}})
    assert large.value.status in (413, 422)


def test_exit_codes_of_run(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start(1)
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    # no proxy: refused with the reason
    refused(cli("run", str(file), "--wait", peer=cluster["node-1"]), 5, "proxy")
    port = free_port()
    added = cli("proxy", "add", "web", f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}", peer=cluster["node-1"])
    assert added.returncode == 0, added.stdout + added.stderr
    # a fault that touched nothing proves nothing
    file.write_text(GOOD.replace("scenario: latency", "scenario: latency, durationSeconds: 1"))
    done = cli("run", str(file), "--wait", "-o", "json", peer=cluster["node-1"])
    assert done.returncode == 4, done.stdout + done.stderr
    assert json.loads(done.stdout)

"""What docs/operations.md says about lost majorities, backups and full disks, done as it is written there."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import ApiError, Cluster, PeerProcess, Sampler, Shop, orchestration, outage, wait_until

FULL_DISK_MIB = 96  # enough not to count as nearly full at the start


def raftchaos(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """A command of a person."""
    command = [sys.executable, "-m", "raftchaos.cli.main", *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=30, check=False)


def done(*words: str) -> dict[str, Any]:
    """What a command that succeeds tells programs."""
    ended = raftchaos(*words, "-o", "json")
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def experiment(cluster: Cluster, peer: PeerProcess) -> str:
    """A task that has passed."""
    targets = {"names": [peer.name]}
    task = cluster.submit(orchestration("parallel", [outage("one", 1)], targets), peer)
    assert cluster.wait_task(task, 30, peer)["verdict"] == "passed"
    return task


# ---- the majority is lost for good


def test_a_survivor_goes_on_alone(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    survivor = cluster["node-3"]
    task = experiment(cluster, survivor)
    _every_file_is_documented(survivor)
    lost = [cluster["node-1"], cluster["node-2"]]
    for peer in lost:
        peer.end()
    words = ("node", "force-new-cluster", "--data-dir", str(survivor.data))
    running = raftchaos(*words, "--yes-i-understand")
    assert running.returncode == 5, running.stderr
    assert "in use" in running.stderr
    before = survivor.status()
    assert survivor.stop() == 0, survivor.output()

    declined = raftchaos(*words, given="n\n")
    assert (declined.returncode, "nothing was changed" in declined.stderr) == (5, True), declined.stderr
    assert "lost for good" in declined.stderr
    mistyped = raftchaos(*words, given="y\nnode-1\n")
    assert mistyped.returncode == 5, mistyped.stderr
    agreed = raftchaos(*words, given="y\nnode-3\n")
    assert agreed.returncode == 0, agreed.stderr

    survivor.start()
    wait_until(survivor.ready, 20, f"the survivor is ready\n{survivor.output()}")
    status = survivor.status()
    assert status["quorum"]["voters"] == ["node-3"]
    assert status["cluster"] != before["cluster"]
    assert survivor.get(f"/api/v1/tasks/{task}")["verdict"] == "passed"
    _old_members_are_refused_and_new_ones_join(cluster, shop, survivor)


def _every_file_is_documented(peer: PeerProcess) -> None:
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    for file in peer.data.rglob("*"):
        if not file.is_dir():
            name = re.sub(r"authority-[0-9a-f]+", "authority-*", str(file.relative_to(peer.data)))
            assert f"`{name}`" in page, file


def _old_members_are_refused_and_new_ones_join(cluster: Cluster, shop: Shop, survivor: PeerProcess) -> None:
    old = cluster["node-1"].start()
    wait_until(lambda: old.status()["name"], 20, "the old member serves its API")
    address = f"127.0.0.1:{survivor.api}"
    for name in ("node-1", "node-2"):
        wait_until(lambda name=name: _failed(survivor, name), 20, f"{name} is failed")
        assert raftchaos("node", "remove", name, "--peer", address).returncode == 0
    assert "node-3" not in old.status()["quorum"]["reachable"]
    assert [node["name"] for node in survivor.get("/api/v1/nodes")["nodes"]] == ["node-3"]
    old.end()
    shutil.rmtree(old.data)
    old.start(survivor.api)
    cluster.wait_ready()
    assert survivor.status()["quorum"]["voters"] == ["node-1", "node-3"]
    experiment(cluster, old)
    shop.wait_clean_of("node-1", "node-3")


def _failed(peer: PeerProcess, name: str) -> bool:
    return bool(peer.get(f"/api/v1/nodes/{name}")["status"] == "failed")


# ---- backup and restore


def test_a_cluster_is_restored_from_a_backup(cluster: Cluster, shop: Shop, tmp_path: Path) -> None:
    shop.start(3)
    leader = cluster.leader()
    follower = next(peer for peer in cluster.running() if peer is not leader)
    task = experiment(cluster, leader)
    long = cluster.submit(orchestration("parallel", [outage("long", 300)]), leader)
    wait_until(lambda: leader.get(f"/api/v1/tasks/{long}")["status"] == "running", 10, "the long task runs")
    file = tmp_path / "cluster.backup"
    told = done("backup", str(file), "--strong", "--peer", f"127.0.0.1:{follower.api}")
    assert told["bytes"] == file.stat().st_size
    again = raftchaos("backup", str(file), "--peer", f"127.0.0.1:{follower.api}")
    assert again.returncode == 5, "a backup is never overwritten"
    cluster.end()

    new = cluster.peers["new-1"] = PeerProcess("new-1", tmp_path, shop.proxies("new-1"))
    words = ("--data-dir", str(new.data), "--name", "new-1", "--raft-listen", f"127.0.0.1:{new.raft}")
    restored = done("restore", str(file), *words)
    assert restored["tasksEnded"] == [long]
    assert restored["nodesDropped"] == ["node-1", "node-2", "node-3"]
    assert raftchaos("restore", str(file), *words).returncode == 5, "a used folder is refused"
    new.start()
    wait_until(new.ready, 20, f"the restored peer is ready\n{new.output()}")
    assert new.status()["cluster"] == restored["cluster"] != told["cluster"]
    assert new.get(f"/api/v1/tasks/{task}")["verdict"] == "passed"
    ended = new.get(f"/api/v1/tasks/{long}")
    assert (ended["status"], "restored from a backup" in ended["reason"]) == ("halted", True), ended
    assert new.status()["index"] > told["index"]
    joined = cluster.add("new-2", new)
    cluster.wait_ready()
    assert joined.get(f"/api/v1/tasks/{task}")["verdict"] == "passed"
    shop.samplers["new-1"] = Sampler(shop.ports["new-1"], "/new-1")
    experiment(cluster, new)


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_backup_is_refused(cluster: Cluster, tmp_path: Path, damage: str) -> None:
    cluster.start(1)
    file = tmp_path / "cluster.backup"
    done("backup", str(file), "--peer", f"127.0.0.1:{cluster['node-1'].api}")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1 if damage == "flipped" else 0
    file.write_bytes(b"what?" if damage == "other" else data[: len(data) - (damage == "cut")])
    refused = raftchaos("restore", str(file), "--data-dir", str(tmp_path / "new"), "--name", "new")
    assert refused.returncode == 5, refused.stderr
    assert str(file) in refused.stderr
    assert not (tmp_path / "new").exists()


# ---- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own."""
    folder = tmp_path / "node-2"
    folder.mkdir(mode=0o700)
    size = f"size={FULL_DISK_MIB}m,mode=0700"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"this machine lets nobody mount a tmpfs (run as root): {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_peer_whose_disk_is_nearly_full_is_degraded_and_one_whose_disk_is_full_ends(
    small_disk: Path, cluster: Cluster
) -> None:
    cluster.start(3)
    peer, other = cluster["node-2"], cluster["node-3"]
    filler = small_disk / "filler"
    filler.write_bytes(bytes((FULL_DISK_MIB // 2) * 2**20))
    node = wait_until(lambda: _node(other, "node-2", "degraded"), 15, "node-2 is degraded")
    assert "free on the disk" in " ".join(node["reasons"])
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(64))
    ids = [_submit(other, number) for number in range(200) if peer in cluster.running()]
    assert peer.wait_exit() == 5, peer.output()
    said = peer.output()
    assert f"{peer.data}" in said
    assert "No space left" in said
    assert len(cluster.leader(among=[cluster["node-1"], other]).status()["quorum"]["reachable"]) == 2

    filler.unlink()
    peer.start()
    cluster.wait_ready()
    known = {task["id"] for task in peer.get("/api/v1/tasks?limit=200")["tasks"]}
    assert {task for task in ids if task} <= known, "what was answered is there"


def _node(asked: PeerProcess, name: str, status: str) -> dict[str, Any] | None:
    node: dict[str, Any] = asked.get(f"/api/v1/nodes/{name}")
    return node if node["status"] == status else None


def _submit(asked: PeerProcess, number: int) -> str:
    """The id of an accepted task, or nothing if nobody can tell."""
    targets = {"selector": {"no": "node"}, "onNoTargets": "skip"}
    document = orchestration("parallel", [outage("one", 1)], targets)
    try:
        return str(asked.post("/api/v1/tasks", {"document": document, "id": f"task-{number}"})["id"])
    except ApiError as error:
        if error.status != 503:
            raise
        return ""

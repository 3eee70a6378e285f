"""A peer goes on from what earlier releases wrote, and does not go on from what later ones wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import pytest

from raftchaos.consensus import bootstrap
from raftchaos.consensus.entries import encode_command
from raftchaos.consensus.snapshot import SnapshotStore
from raftchaos.core import commands
from raftchaos.files import read_record
from tests.system.harness import Cluster, PeerProcess, Sampler, Shop, orchestration, outage, wait_until

DATA = Path(__file__).parents[2] / "data"
RELEASES = sorted(path.parent.name for path in DATA.glob("*/expected.json"))


def expected(release: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((DATA / release / "expected.json").read_text())
    return told


def shows_the_history(peer: PeerProcess, told: dict[str, Any]) -> None:
    """The tasks are as that release showed them; the one that had not ended has ended at its deadline, or will."""
    assert peer.status()["index"] > told["index"]
    for task in told["tasks"]:
        view = peer.get(f"/api/v1/tasks/{task['id']}")
        if task["status"] != "paused":
            assert {key: view[key] for key in task} == task
        else:
            assert view["status"] in ("paused", "recovering", "failed", "halted"), view


@pytest.mark.parametrize("kind", ["log", "snapshot"])
@pytest.mark.parametrize("release", RELEASES)
def test_a_peer_goes_on_from_the_data_directory_of_that_release(
    cluster: Cluster, shop: Shop, tmp_path: Path, release: str, kind: str
) -> None:
    peer = cluster.peers["node-1"] = PeerProcess("node-1", tmp_path, shop.proxies("node-1"))
    shutil.copytree(DATA / release / kind, peer.data)
    peer.start()
    wait_until(peer.ready, 20, f"it is ready\n{peer.output()}")
    shows_the_history(peer, expected(release))
    joined = cluster.add("node-2", peer)
    cluster.wait_ready()
    shows_the_history(joined, expected(release))
    shop.samplers["node-1"] = Sampler(shop.ports["node-1"], "/node-1")
    task = cluster.submit(orchestration("parallel", [outage("one", 1)], {"names": ["node-1"]}), joined)
    assert cluster.wait_task(task, 30)["verdict"] == "passed"


@pytest.mark.parametrize("release", RELEASES)
def test_a_backup_of_that_release_is_restored(cluster: Cluster, tmp_path: Path, release: str) -> None:
    peer = cluster.peers["new"] = PeerProcess("new", tmp_path)
    words = ("restore", str(DATA / release / "cluster.backup"), "--data-dir", str(peer.data), "--name", "new")
    subprocess.run([sys.executable, "-m", "raftchaos.cli.main", *words], check=True, timeout=30)
    peer.start()
    wait_until(peer.ready, 20, f"it is ready\n{peer.output()}")
    shows_the_history(peer, expected(release))


def test_a_peer_that_meets_a_command_of_a_later_release_ends_and_says_so(cluster: Cluster) -> None:
    cluster.start(1)
    peer = cluster["node-1"]
    assert peer.stop() == 0
    log = _append(peer, msgpack.packb([commands.VERSION, "brewCoffee", {"cups": 2}]))
    peer.start()
    assert peer.wait_exit() == 5, peer.output()
    said = peer.output()
    assert "brewCoffee" in said
    assert "upgrade this peer" in said
    assert "Traceback" not in said
    before = log.read_bytes()
    peer.start()
    assert peer.wait_exit() == 5, "it does not go on at the next start either"
    assert log.read_bytes().startswith(before), "nothing was lost"


def test_a_peer_that_meets_a_later_version_of_the_commands_ends_and_says_so(cluster: Cluster) -> None:
    cluster.start(1)
    peer = cluster["node-1"]
    assert peer.stop() == 0
    _append(peer, msgpack.packb([commands.VERSION + 1, "halt", {}]))
    peer.start()
    assert peer.wait_exit() == 5, peer.output()
    assert f"version {commands.VERSION + 1}" in peer.output()


def _append(peer: PeerProcess, command: bytes) -> Path:
    """What a leader of another release would have sent this peer."""
    identity = read_record(peer.data / "identity.msgpack")
    store = SnapshotStore(peer.data / "raft" / "snapshot")
    log, _ = bootstrap.load(peer.data, store, cluster_id=identity["cluster"], name=peer.name)
    log.add(encode_command("later:1:1", 0, command), log.last_index + 1, log.term)
    log.close()
    return log.path

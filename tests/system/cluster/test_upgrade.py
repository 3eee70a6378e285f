"""A peer goes on from what earlier releases wrote, and does not go on from what later ones wrote."""

from __future__ import annotations

import contextlib
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
from tests.system.harness import ApiError, Cluster, PeerProcess, Sampler, Shop, orchestration, outage, wait_until

DATA = Path(__file__).parents[2] / "data"
NEXT_RELEASE = Path(__file__).with_name("next_release.py")
RELEASES = sorted(path.parent.name for path in DATA.glob("*/expected.json"))

INSECURE = ("--insecure",)
"""The peers of that release had no certificates."""


def expected(release: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((DATA / release / "expected.json").read_text())
    return told


def shows_the_history(peer: PeerProcess, told: dict[str, Any]) -> None:
    """The tasks are as that release showed them; the one that had not ended has ended at its deadline, or will."""
    wait_until(lambda: peer.status()["index"] > told["index"], 10, "it has gone on")
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
    cluster.extra = INSECURE
    peer.start(extra=INSECURE)
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


# ---- two releases in one cluster


class MixedPeer(PeerProcess):
    """A peer of this release, or of the next one."""

    next: str | None = None
    """None: this release. Else the next one, with what is different about it."""

    def command(self, join: int | None = None, extra: tuple[str, ...] = ()) -> list[str]:
        words = super().command(join, extra)
        return words if self.next is None else [words[0], str(NEXT_RELEASE), self.next, *words[3:]]

    def upgrade(self) -> None:
        """Start it again, of the next release."""
        self.next = ""
        self.start()
        wait_until(self.ready, 30, f"{self.name} is ready after its upgrade\n{self.output()}")

    def drain(self, name: str) -> None:
        """What the next release does with a command that this one does not know."""
        self.post(f"/api/v1/nodes/{name}/drain")

    def note(self, name: str) -> str:
        """What that command has left on a node, as this peer sees it."""
        return str(self.get(f"/api/v1/nodes/{name}")["labels"].get("note", ""))


def mixed(cluster: Cluster, number: int, next: str | None, proxies: Any = None) -> MixedPeer:
    """One more peer of either release, that founds or joins the cluster."""
    name = f"node-{number}"
    first = cluster.peers.get("node-1")
    peer = MixedPeer(name, cluster.root, proxies)
    peer.next = next
    cluster.peers[name] = peer
    peer.start(None if first is None else first.api)
    return peer


def founded(cluster: Cluster, *releases: str | None) -> list[MixedPeer]:
    """A cluster of peers of these releases."""
    peers = []
    for number, release in enumerate(releases, 1):
        peers.append(mixed(cluster, number, release))
        wait_until(peers[-1].ready, 30, f"{peers[-1].name} is ready\n{peers[-1].output()}")
    cluster.wait_ready()
    return peers


def agree(peers: list[MixedPeer]) -> bool:
    """All are at one index with one state."""
    return len({(view["index"], view["stateHash"]) for view in (peer.status() for peer in peers)}) == 1


def ended_for_want_of_an_upgrade(peer: MixedPeer, *said: str) -> None:
    """It has refused to go on, and told why."""
    assert peer.wait_exit() == 5, peer.output()
    for words in said:
        assert words in peer.output()
    assert "a defect of raftchaos" not in peer.output()
    assert "Traceback" not in peer.output()


def test_peers_are_upgraded_one_after_the_other(cluster: Cluster, shop: Shop) -> None:
    peers = []
    for number in (1, 2, 3):
        peers.append(mixed(cluster, number, None, shop.proxies(f"node-{number}")))
        wait_until(peers[-1].ready, 30, f"it is ready\n{peers[-1].output()}")
    cluster.wait_ready()
    for name, port in shop.ports.items():
        shop.samplers[name] = Sampler(port, f"/{name}")
    for peer in peers:
        assert peer.stop() == 0, peer.output()
        peer.upgrade()
        cluster.wait_ready()
        task = cluster.submit(orchestration("parallel", [outage("one", 1)]), peer)
        assert cluster.wait_task(task, 30)["verdict"] == "passed", "a cluster of two releases does its work"
        older = [other.name for other in peers if other.next is None]
        if older:
            with pytest.raises(ApiError, match=f"an older one, .*: {', '.join(older)}'") as caught:
                peer.drain("node-1")
            assert caught.value.status == 409
    peers[0].drain("node-1")
    wait_until(lambda: all(peer.note("node-1") == "drained-by-node-1" for peer in peers), 10, "all have applied it")
    wait_until(lambda: agree(peers), 10, "they agree")


def test_a_command_that_comes_too_early_stops_peers_and_makes_none_differ(cluster: Cluster) -> None:
    hasty, *others = founded(cluster, "hasty", None, None)
    with contextlib.suppress(ApiError, OSError):
        hasty.drain("node-1")
    for peer in others:
        ended_for_want_of_an_upgrade(peer, "noteNode", "upgrade this peer")
    logs = {peer: (peer.data / "raft" / "log").read_bytes() for peer in others}
    others[0].start()
    ended_for_want_of_an_upgrade(others[0], "noteNode")
    for peer in others:
        assert (peer.data / "raft" / "log").read_bytes().startswith(logs[peer]), "nothing was lost"
    for peer in others:
        peer.next = ""
        peer.start()
    cluster.wait_ready()
    wait_until(lambda: all(peer.note("node-1") for peer in (hasty, *others)), 10, "all have applied it")
    wait_until(lambda: agree([hasty, *others]), 10, "they agree")


@pytest.mark.parametrize(("release", "said"), [("", "noteNode"), ("snapshot", "snapshot of version")])
def test_a_peer_of_an_older_release_that_joins_too_late_says_so(cluster: Cluster, release: str, said: str) -> None:
    (first,) = founded(cluster, release)
    first.drain("node-1")
    if release == "snapshot":
        wait_until((first.data / "raft" / "snapshot").exists, 10, "there is a snapshot")
    late = mixed(cluster, 2, None)
    ended_for_want_of_an_upgrade(late, said, "upgrade this peer to the release of the others")
    late.next = release
    late.start(first.api)
    cluster.wait_ready()
    assert late.note("node-1") == "drained-by-node-1"
    wait_until(lambda: agree([first, late]), 10, "they agree")


def _append(peer: PeerProcess, command: bytes) -> Path:
    """What a leader of another release would have sent this peer."""
    identity = read_record(peer.data / "identity.msgpack")
    store = SnapshotStore(peer.data / "raft" / "snapshot")
    log, _ = bootstrap.load(peer.data, store, cluster_id=identity["cluster"], name=peer.name)
    log.add(encode_command("later:1:1", 0, command), log.last_index + 1, log.term)
    log.close()
    return log.path

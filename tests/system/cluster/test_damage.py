"""A damaged data directory is refused with the file's name; it never becomes an empty one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.harness import Cluster, PeerProcess, Shop, orchestration, outage


def stopped_peer(cluster: Cluster, shop: Shop) -> PeerProcess:
    """A peer with a task in its history, stopped."""
    shop.start(1)
    peer = cluster["node-1"]
    assert cluster.wait_task(cluster.submit(orchestration("parallel", [outage("one", 1)])), 30)["verdict"] == "passed"
    assert peer.stop() == 0, peer.output()
    peer.log.unlink()
    return peer


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(bytes(data))


def refused(peer: PeerProcess, file: str) -> None:
    peer.start()
    assert peer.wait_exit() == 5, peer.output()
    said = peer.output()
    assert file in said, said
    assert "Traceback" not in said
    assert "restore" in said, said


def test_a_corrupt_raft_log_is_refused(cluster: Cluster, shop: Shop) -> None:
    peer = stopped_peer(cluster, shop)
    log = peer.data / "raft" / "log"
    before = log.read_bytes()
    flip(log, log.stat().st_size // 2)
    refused(peer, str(log))
    assert log.stat().st_size == len(before), "it was not touched"


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"garbage that is no vote file at all"])
def test_a_corrupt_vote_file_is_refused(cluster: Cluster, shop: Shop, content: bytes) -> None:
    peer = stopped_peer(cluster, shop)
    vote = peer.data / "raft" / "vote"
    assert vote.exists()
    vote.write_bytes(content)
    refused(peer, str(vote))


def test_a_missing_vote_file_is_refused(cluster: Cluster, shop: Shop) -> None:
    peer = stopped_peer(cluster, shop)
    (peer.data / "raft" / "vote").unlink()
    refused(peer, "vote")


def test_a_corrupt_snapshot_is_refused(cluster: Cluster, shop: Shop) -> None:
    peer = stopped_peer(cluster, shop)
    (peer.data / "raft" / "snapshot").write_bytes(b"this was a snapshot once")
    refused(peer, "snapshot")


def test_an_incomplete_last_record_is_cut_off_with_a_word(cluster: Cluster, shop: Shop) -> None:
    peer = stopped_peer(cluster, shop)
    log = peer.data / "raft" / "log"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 3)
    peer.start()
    cluster.wait_ready()
    assert "incomplete" in peer.output()
    assert cluster.wait_task(cluster.submit(orchestration("parallel", [outage("one", 1)])), 30)["verdict"] == "passed"

"""The files: what survives, what is cut off, and what is refused."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from raftchaos.consensus import bootstrap, files, storage
from raftchaos.consensus.entries import Configuration
from raftchaos.consensus.snapshot import Key, Snapshot, SnapshotStore
from raftchaos.consensus.storage import DiskLog
from raftchaos.errors import Conflict, DataCorrupt, MachineUnusable

CLUSTER = "cluster-1"


def found(path: Path) -> Path:
    bootstrap.found(path, cluster_id=CLUSTER, name="a", address="a:1")
    return bootstrap.raft_directory(path)


def load(path: Path) -> tuple[DiskLog, Snapshot | None]:
    store = SnapshotStore(bootstrap.raft_directory(path) / "snapshot")
    try:
        return bootstrap.load(path, store, cluster_id=CLUSTER, name="a")
    finally:
        store.close()


def filled(path: Path, count: int = 5) -> Path:
    directory = found(path)
    log, _ = load(path)
    log.setCurrentTerm(3, "b")
    for i in range(count):
        log.add(b"\x00entry %d" % i, 3 + i, 3)
    log.setRaftCommitIndex(4)
    log.close()
    return directory


def snapshot_at(path: Path, last: int, term: int) -> None:
    store = SnapshotStore(bootstrap.raft_directory(path) / "snapshot")
    data = Snapshot(Key(last, term), Configuration({"a": "a:1"}), 2, b"state").encode()
    store.save(Key(last, term), data, lambda: True, lambda: None)
    store.close()


def test_a_restart_keeps_entries_term_vote_and_commit_index(tmp_path: Path) -> None:
    filled(tmp_path)
    log, snapshot = load(tmp_path)
    assert snapshot is None
    assert (log.term, log.vote, log.commit, log.last_index, log.stable) == (3, "b", 4, 7, 7)
    assert log[2:] == [(b"\x00entry %d" % i, 3 + i, 3) for i in range(5)]
    log.close()


def test_what_was_flushed_survives_without_a_close(tmp_path: Path) -> None:
    found(tmp_path)
    log, _ = load(tmp_path)
    log.setCurrentTerm(1, "a")
    log.add(b"\x00kept", 3, 1)
    log.flush()
    log.add(b"\x00lost", 4, 1)
    again, _ = load(tmp_path)
    assert again[-1] == (b"\x00kept", 3, 1)
    assert (again.term, again.vote) == (1, "a")
    again.close()
    log.close()


def test_truncation_is_remembered(tmp_path: Path) -> None:
    filled(tmp_path)
    log, _ = load(tmp_path)
    log.deleteEntriesFrom(3)
    assert log.stable == 3
    log.setCurrentTerm(4, None)
    log.add(b"\x00other", 4, 4)
    log.close()
    again, _ = load(tmp_path)
    assert [entry[1:] for entry in again.entries] == [(1, 0), (2, 0), (3, 3), (4, 4)]
    again.close()


def test_every_incomplete_last_record_is_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = filled(tmp_path)
    path = directory / "log"
    whole = path.read_bytes()
    log, _ = load(tmp_path)
    log.add(b"\x00never acknowledged", 8, 3)
    log.flush()
    log._commit_written = log.commit
    log.close()
    longer = path.read_bytes()
    for size in range(len(whole) + 1, len(longer)):
        path.write_bytes(longer[:size])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            log, _ = load(tmp_path)
        assert log.last_index == 7
        assert "incomplete last record" in caplog.text
        assert str(path) in caplog.text
        log.close()
        assert path.read_bytes() == whole


def test_an_end_of_zeros_is_cut_off(tmp_path: Path) -> None:
    """As a power cut leaves it where the file had its new size on the disk before the bytes."""
    directory = filled(tmp_path)
    path = directory / "log"
    whole = path.read_bytes()
    log, _ = load(tmp_path)
    log.add(b"\x00never acknowledged", 8, 3)
    log.add(b"\x00nor this", 9, 3)
    log._commit_written = log.commit
    log.close()
    longer = path.read_bytes()
    first = len(longer) - len(whole)
    for arrived in range(first - 28):
        path.write_bytes(longer[: len(whole) + arrived] + b"\0" * (first - arrived))
        log, _ = load(tmp_path)
        assert log.last_index in (7, 8)
        log.close()
        assert longer.startswith(path.read_bytes())


@pytest.mark.parametrize("missing", [1, 7, 15])
def test_an_end_whose_last_sector_never_arrived_is_cut_off(tmp_path: Path, missing: int) -> None:
    directory = filled(tmp_path)
    path = directory / "log"
    log, _ = load(tmp_path)
    whole = path.stat().st_size + len(storage._record(storage._ENTRY, b"x" * 1000, 8, 3))
    log.add(b"x" * (1000 + (missing - whole) % 512), 8, 3)
    log._commit_written = log.commit
    log.close()
    longer = path.read_bytes()
    assert len(longer) % 512 == missing
    path.write_bytes(longer[:-missing] + b"\0" * missing)
    log, _ = load(tmp_path)
    assert log.last_index == 7
    log.close()


def test_zeros_amid_the_log_are_refused(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    path = directory / "log"
    whole = path.read_bytes()
    for at in range(0, len(whole) - 64, 8):
        path.write_bytes(whole[:at] + b"\0" * 32 + whole[at + 32 :])
        with pytest.raises(DataCorrupt):
            load(tmp_path)


def test_any_changed_byte_of_the_log_is_refused(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    path = directory / "log"
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        with pytest.raises(DataCorrupt) as caught:
            load(tmp_path)
        assert str(path) in str(caught.value)
        assert "remove the node" in caught.value.hint


@pytest.mark.parametrize("name", ["vote", "snapshot"])
def test_any_changed_or_missing_byte_of_vote_and_snapshot_is_refused(tmp_path: Path, name: str) -> None:
    directory = filled(tmp_path)
    snapshot_at(tmp_path, 5, 3)
    path = directory / name
    whole = path.read_bytes()
    for at in range(len(whole)):
        for damaged in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[:at]):
            path.write_bytes(damaged)
            with pytest.raises(DataCorrupt) as caught:
                load(tmp_path)
            assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["log", "vote"])
def test_a_missing_file_beside_others_is_damage(tmp_path: Path, name: str) -> None:
    directory = filled(tmp_path)
    (directory / name).unlink()
    with pytest.raises(DataCorrupt, match="missing") as caught:
        load(tmp_path)
    assert name in str(caught.value)
    assert bootstrap.exists(tmp_path)


def test_a_missing_snapshot_and_an_empty_directory_are_damage(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    snapshot_at(tmp_path, 6, 3)
    log, _ = load(tmp_path)
    log.compact(5)
    log.close()
    (directory / "snapshot").unlink()
    with pytest.raises(DataCorrupt, match="snapshot"):
        load(tmp_path)
    for name in ("log", "vote"):
        (directory / name).unlink()
    with pytest.raises(DataCorrupt):
        load(tmp_path)
    with pytest.raises(Conflict):
        found(tmp_path)


def test_an_old_vote_file_is_refused(tmp_path: Path) -> None:
    directory = found(tmp_path)
    old = (directory / "vote").read_bytes()
    log, _ = load(tmp_path)
    log.setCurrentTerm(9, "a")
    log.add(b"\x00entry", 3, 9)
    log.close()
    (directory / "vote").write_bytes(old)
    with pytest.raises(DataCorrupt, match="vote"):
        load(tmp_path)


def test_the_log_of_another_peer_or_cluster_is_refused(tmp_path: Path) -> None:
    found(tmp_path)
    store = SnapshotStore(None)
    for cluster, name in ((CLUSTER, "b"), ("cluster-2", "a")):
        with pytest.raises(DataCorrupt, match="belongs to"):
            bootstrap.load(tmp_path, store, cluster_id=cluster, name=name)


def test_compaction_replaces_the_log_and_keeps_the_rest(tmp_path: Path) -> None:
    directory = filled(tmp_path, count=100)
    snapshot_at(tmp_path, 90, 3)
    log, snapshot = load(tmp_path)
    assert snapshot is not None
    before = (directory / "log").stat().st_size
    log.compact(80)
    log.add(b"\x00after", 103, 3)
    log.close()
    assert (directory / "log").stat().st_size < before
    again, snapshot = load(tmp_path)
    assert (again.first_index, again.last_index, again.term, again.vote) == (80, 103, 3, "b")
    assert snapshot is not None
    assert snapshot.state == b"state"
    again.close()


def test_killed_between_a_received_snapshot_and_its_log(tmp_path: Path) -> None:
    filled(tmp_path)
    log, _ = load(tmp_path)
    log.setCurrentTerm(8, None)
    log.close()
    snapshot_at(tmp_path, 500, 7)
    log, _ = load(tmp_path)
    assert (log.first_index, log.last_index, log.commit) == (500, 500, 500)
    log.add(b"\x00next", 501, 8)
    log.close()
    again, _ = load(tmp_path)
    assert again.last_index == 501
    again.close()


def test_a_founding_that_was_killed_half_way_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "raft.new").mkdir()
    (tmp_path / "raft.new" / "vote").write_bytes(b"half")
    assert not bootstrap.exists(tmp_path)
    found(tmp_path)
    load(tmp_path)[0].close()


def test_files_are_private(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    snapshot_at(tmp_path, 5, 3)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineUnusable, match="file"):
        bootstrap.found(tmp_path / "file", cluster_id=CLUSTER, name="a", address="a:1")


def test_a_full_disk_is_an_error_and_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    log, _ = load(tmp_path)
    log.add(b"\x00" + b"x" * 1000, 8, 3)
    write = os.write

    def fail() -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "write", lambda fd, data: fail() if len(data) < 1000 else write(fd, data[:100]))
    with pytest.raises(OSError, match="No space"):
        log.flush()
    monkeypatch.undo()
    again, _ = load(tmp_path)
    assert again.last_index == 7
    again.close()


def test_chunks_put_a_snapshot_together_in_order_only(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "snapshot")
    key = Key(9, 2)
    data = Snapshot(key, Configuration({"a": "a:1"}), 2, b"x" * 600_000).encode()
    store.save(key, data, lambda: True, lambda: None)
    sender, offset, last = store, 0, False
    receiver = SnapshotStore(None)
    parts = []
    while not last:
        part, last = sender.chunk(offset)
        parts.append((offset, part, last))
        offset += len(part)
    assert receiver.receive(key, parts[1][0], parts[1][1], False) == 0
    assert receiver.receive(key, *parts[0]) == parts[1][0]
    assert receiver.receive(key, *parts[2]) == parts[1][0]
    assert receiver.receive(key, *parts[1]) == parts[2][0]
    assert receiver.receive(key, *parts[2]) == data
    store.close()


def test_an_unwanted_snapshot_does_not_replace_the_present_one(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "snapshot")
    for last, wanted in ((9, True), (5, False)):
        data = Snapshot(Key(last, 1), Configuration({"a": "a:1"}), 2, b"").encode()
        store.save(Key(last, 1), data, lambda wanted=wanted: wanted, lambda: None)  # type: ignore[misc]
    snapshot = store.load()
    assert snapshot is not None
    assert snapshot.key == Key(9, 1)
    store.close()

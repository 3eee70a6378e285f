"""`--durability disk`: what was acknowledged is on the disk, and nobody waits for it on the loop."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftchaos.consensus import bootstrap
from raftchaos.consensus.entries import LogEntry
from raftchaos.consensus.seams import LEADER
from raftchaos.consensus.snapshot import SnapshotStore
from raftchaos.consensus.synced import SyncedLog
from raftchaos.errors import MachineUnusable
from tests.unit.consensus.consensus_support import Machine, RealCluster, eventually
from tests.unit.consensus.consensus_virtual import append, command, founded, one_raft, tell, virtual_time


class SlowDisk:
    """An `Offload` whose work is done when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[[], None], Callable[[BaseException | None], None]]] = []

    def __call__(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        self.jobs.append((work, done))

    def finish(self) -> None:
        work, done = self.jobs.pop(0)
        work()
        done(None)


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
def log(tmp_path: Path, disk: SlowDisk) -> Iterator[SyncedLog]:
    log = opened(tmp_path)
    log.offload = disk
    yield log
    log.close()


def opened(path: Path) -> SyncedLog:
    if not bootstrap.exists(path):
        bootstrap.found(path, cluster_id="cluster-1", name="a", address="a:1")
    store = SnapshotStore(bootstrap.raft_directory(path) / "snapshot")
    log, _ = bootstrap.load(path, store, cluster_id="cluster-1", name="a", synced=True)
    store.close()
    assert isinstance(log, SyncedLog)
    return log


def add(log: SyncedLog, *indexes: int, term: int = 1) -> None:
    if log.term < term:
        log.setCurrentTerm(term, None)
    for index in indexes:
        log.add(b"\x00%d of %d" % (index, term), index, term)


# ---- the log alone


def test_what_is_added_during_a_sync_shares_the_next_one(log: SyncedLog, disk: SlowDisk) -> None:
    add(log, 3)
    log.flush()
    add(log, 4, 5)
    log.flush()
    log.flush()
    assert (log.stable, len(disk.jobs)) == (2, 1)
    disk.finish()
    assert log.stable == 3
    log.flush()
    disk.finish()
    log.flush()
    assert (log.stable, len(disk.jobs)) == (5, 0)


def test_entries_replaced_during_a_sync_are_not_stable_after_it(log: SyncedLog, disk: SlowDisk, tmp_path: Path) -> None:
    add(log, 3, 4, 5)
    log.flush()
    log.deleteEntriesFrom(3)
    add(log, 4, 5, term=2)
    disk.finish()
    assert log.stable == 3
    log.flush()
    disk.finish()
    assert log.stable == 5
    log.close()
    assert [entry[2] for entry in opened(tmp_path).entries[2:]] == [1, 2, 2]


def test_compaction_puts_the_new_file_in_place_aside(log: SyncedLog, disk: SlowDisk, tmp_path: Path) -> None:
    add(log, 3, 4, 5)
    log.flush()
    log.compact(4)
    add(log, 6)
    assert not log.wasteful
    disk.finish()
    assert log.stable == 5
    log.flush()
    add(log, 7)
    disk.finish()
    assert log.stable == 6
    assert log.path.stat().st_size == log._size
    log.flush()
    disk.finish()
    log.close()
    entries: list[LogEntry] = []
    reader = SyncedLog(tmp_path / "raft", cluster_id="cluster-1", name="a")
    entries += reader.entries
    reader.close()
    assert [entry[1] for entry in entries] == [4, 5, 6, 7]


def test_a_log_that_begins_anew_is_stable_only_when_the_new_file_is_there(log: SyncedLog, disk: SlowDisk) -> None:
    add(log, 3)
    log.flush()
    log.reset(90, 1)
    disk.finish()
    assert log.stable == 0
    log.flush()
    disk.finish()
    assert log.stable == 90


def test_a_close_syncs_what_is_left_also_after_work_whose_end_nobody_heard(
    log: SyncedLog, disk: SlowDisk, tmp_path: Path
) -> None:
    add(log, 3)
    log.flush()
    disk.jobs.pop()[0]()  # as when the loop stops before the thread is done
    add(log, 4)
    log.close()
    again = opened(tmp_path)
    assert again.last_index == 4
    again.close()


# ---- Raft on it


def test_a_follower_answers_heartbeats_at_once_and_appends_when_they_are_on_the_disk(
    log: SyncedLog, disk: SlowDisk
) -> None:
    with virtual_time():
        raft, _, _ = one_raft("b", log=_three(log, disk))
        sent = tell(raft, "a", append(1, 2, 0, [(command("x"), 3, 1)]))
        assert [message["type"] for _, message in sent] == ["heartbeat_reply"]
        sent = tell(raft, "a", {"type": "heartbeat", "term": 1, "round": 0})
        assert [message["type"] for _, message in sent] == ["heartbeat_reply"]
        sent = tell(raft, "a", append(1, 2, 0))
        assert [message["next"] for _, message in sent] == [3], "what is stable is acknowledged at once"
        disk.finish()
        raft.doTick(0)
        (_, reply), *more = raft.transport.take()  # type: ignore[attr-defined]
        assert (reply["type"], reply["success"], reply["next"], more) == ("append_reply", True, 4, [])


def test_a_promise_of_an_earlier_term_is_forgotten(log: SyncedLog, disk: SlowDisk) -> None:
    with virtual_time():
        raft, _, _ = one_raft("b", log=_three(log, disk))
        tell(raft, "a", append(1, 2, 0, [(command("x"), 3, 1)]))
        tell(raft, "c", append(2, 2, 0, [(command("y"), 3, 2)]))
        disk.finish()
        raft.doTick(0)
        disk.finish()
        raft.doTick(0)
        sent = [(to, m["term"], m["next"]) for to, m in _taken(raft) if m["type"] == "append_reply"]
        assert sent == [("c", 2, 4)]


def test_a_leader_does_not_count_itself_before_its_disk_has_the_entry(log: SyncedLog, disk: SlowDisk) -> None:
    with virtual_time():
        raft, _, _ = one_raft("b", log=_three(log, disk))
        raft.stand(raft.election_at, handed_over=False)
        tell(raft, "a", {"type": "vote_reply", "term": 1, "granted": True})
        assert raft.role == LEADER
        index = raft.log.last_index
        raft.match_index[raft.others[0]] = index
        raft.doTick(0)
        assert raft.commit_index < index
        disk.finish()
        raft.doTick(0)
        assert raft.commit_index == index


def test_a_leader_whose_disk_is_slow_commits_what_the_others_have(log: SyncedLog, disk: SlowDisk) -> None:
    with virtual_time():
        raft, _, _ = one_raft("b", log=_three(log, disk))
        raft.stand(raft.election_at, handed_over=False)
        tell(raft, "a", {"type": "vote_reply", "term": 1, "granted": True})
        for node in raft.others:
            raft.match_index[node] = raft.log.last_index
        raft.doTick(0)
        assert raft.commit_index == raft.log.last_index > raft.log.stable


def _three(log: SyncedLog, disk: SlowDisk) -> SyncedLog:
    """The same log in a cluster of a, b and c."""
    log.deleteEntriesFrom(1)
    for entry in founded("a", "b", "c").entries[1:]:
        log.add(*entry)
    log.flush()
    disk.finish()
    return log


def _taken(raft: Any) -> list[tuple[str, dict[str, Any]]]:
    taken: list[tuple[str, dict[str, Any]]] = raft.transport.take()
    return taken


# ---- a power cut


class Platter:
    """What the disk would have after a power cut: of each file what was synced, and of each folder the names."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.content: dict[int, bytes] = {}
        self.names: dict[str, dict[str, int]] = {}
        self.cut: tuple[dict[int, bytes], dict[str, dict[str, int]]] | None = None

    def sync(self, fd: int) -> None:
        """Called in the place of fsync and fdatasync."""
        path = Path(f"/proc/self/fd/{fd}").resolve()
        with self.lock:
            if path.is_dir():
                self.names[str(path)] = {entry.name: entry.inode() for entry in os.scandir(path) if entry.is_file()}
            else:
                self.content[os.fstat(fd).st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def power_cut(self) -> None:
        """Nothing that is synced after this counts."""
        with self.lock:
            self.cut = dict(self.content), {folder: dict(names) for folder, names in self.names.items()}

    def restore(self, folder: Path) -> None:
        """Leave in the folder what the disk had at the cut."""
        assert self.cut is not None
        content, names = self.cut
        known = names.get(str(folder), {})
        shutil.rmtree(folder)
        folder.mkdir()
        for name, inode in known.items():
            (folder / name).write_bytes(content.get(inode, b""))


@pytest.fixture
def platter(monkeypatch: pytest.MonkeyPatch) -> Platter:
    platter = Platter()
    monkeypatch.setattr(os, "fsync", platter.sync)
    monkeypatch.setattr(os, "fdatasync", platter.sync)
    return platter


async def _cut_under_load(cluster: RealCluster, platter: Platter, count: int, at: int) -> list[str]:
    """Writes from all sides, the power fails everywhere after the `at`-th answer. What was answered by then."""
    await cluster.grow("a", "b", "c")
    answered: list[str] = []
    names = sorted(cluster.replicas)

    async def caller(number: int) -> None:
        for i in range(count):
            key = f"write-{number}-{i}."
            await cluster.replicas[names[number % 3]].propose(key, key.encode() + b" " * 500, timeout=10)
            if platter.cut is None:
                answered.append(key)
                if len(answered) == at:
                    platter.power_cut()

    await asyncio.gather(*(caller(number) for number in range(6)))
    await cluster.close()
    for name in names:
        platter.restore(cluster.root / name / "raft")
    return answered


@pytest.mark.parametrize("seed", range(3))
async def test_an_acknowledged_entry_survives_a_power_cut_of_every_machine(
    tmp_path: Path, platter: Platter, seed: int
) -> None:
    cluster = RealCluster(tmp_path, durability="disk", entries_before_snapshot=60)
    at = random.Random(seed).randrange(100, 400)
    answered = await _cut_under_load(cluster, platter, 80, at)
    assert len(answered) == at
    for name in ("a", "b", "c"):
        await cluster.restart(name)
    await cluster.settled()
    for machine in cluster.machines.values():
        assert set(answered) <= set(machine.results)
    await cluster.close()


async def test_without_it_a_power_cut_takes_acknowledged_entries(tmp_path: Path, platter: Platter) -> None:
    """The cut of these tests really cuts: with `process` what was answered is gone."""
    cluster = RealCluster(tmp_path)
    answered = await _cut_under_load(cluster, platter, 20, 100)
    survivors: set[str] = set()
    for name in ("a", "b", "c"):
        machine = cluster.machines[name] = Machine()
        store = SnapshotStore(None)
        log, _ = bootstrap.load(tmp_path / name, store, cluster_id="test-cluster", name=name)
        survivors |= {entry[0].decode(errors="replace") for entry in log.entries}
        assert not machine.results
        log.close()
    assert not any(key in text for key in answered for text in survivors)


# ---- a disk that fails


async def test_a_sync_that_fails_ends_the_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = RealCluster(tmp_path, durability="disk")
    replica = await cluster.found("a")
    await replica.propose("before", b"x", timeout=5)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(Exception, match=r"stopped|not made|unknown|nobody"):
        await replica.propose("after", b"x", timeout=5)
    await eventually(replica.stopped.is_set)
    assert isinstance(replica.failure, MachineUnusable)
    assert "No space left" in str(replica.failure)
    await cluster.close()

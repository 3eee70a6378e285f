"""The files of a replica: made for a founder or a joiner, and checked before anything is believed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from raftchaos.consensus.entries import NOOP, Configuration, LogEntry, encode_configuration
from raftchaos.consensus.files import corrupt, sync_directory, write_new
from raftchaos.consensus.snapshot import Key, Snapshot, SnapshotStore
from raftchaos.consensus.storage import DiskLog
from raftchaos.consensus.synced import SyncedLog
from raftchaos.errors import Conflict, MachineUnusable

FILES: Final = ("log", "vote", "snapshot")


def raft_directory(data_dir: Path) -> Path:
    """Where the files of consensus are."""
    return data_dir / "raft"


def exists(data_dir: Path) -> bool:
    """This data directory has belonged to a replica, whatever is left of it."""
    return raft_directory(data_dir).exists()


def found(data_dir: Path, *, cluster_id: str, name: str, address: str) -> None:
    """Make the files of the only voter of a new cluster. Raises Conflict if there are some, MachineUnusable."""
    # Entry 1 is the same in every log of every cluster. The founder's configuration is committed by definition.
    entries: list[LogEntry] = [(NOOP, 1, 0), (encode_configuration(Configuration({name: address})), 2, 0)]
    _prepare(data_dir, cluster_id=cluster_id, name=name, entries=entries, hints={})


def expect(data_dir: Path, *, cluster_id: str, name: str, members: dict[str, str]) -> None:
    """Make the files of a peer that will be told by `members` (names and addresses) what the cluster decided."""
    _prepare(data_dir, cluster_id=cluster_id, name=name, entries=[(NOOP, 1, 0)], hints=members)


def found_with(data_dir: Path, *, cluster_id: str, name: str, address: str, state: bytes, last: int) -> None:
    """Make the files of the only voter of a new cluster that begins with this state, which belongs to the entry `last`.

    Raises Conflict if there are some, MachineUnusable.
    """
    snapshot = Snapshot(Key(last, 0), Configuration({name: address}), last, state).encode()
    _prepare(data_dir, cluster_id=cluster_id, name=name, entries=[(NOOP, last, 0)], hints={}, snapshot=snapshot)


def _prepare(
    data_dir: Path,
    *,
    cluster_id: str,
    name: str,
    entries: list[LogEntry],
    hints: dict[str, str],
    snapshot: bytes = b"",
) -> None:
    directory = raft_directory(data_dir)
    if directory.exists():
        raise Conflict(f"{directory} exists already: this peer has been part of a cluster")
    new = data_dir / "raft.new"
    try:
        shutil.rmtree(new, ignore_errors=True)  # a start that was killed before it was complete
        new.mkdir(mode=0o700, parents=True)
        DiskLog.prepare(new, cluster_id=cluster_id, name=name, entries=entries, hints=hints)
        if snapshot:
            write_new(new / "snapshot", snapshot, sync=True)
        sync_directory(new)
        new.rename(directory)  # all files at once, or none
        sync_directory(data_dir)
    except OSError as error:
        raise MachineUnusable(
            f"cannot write the data directory {data_dir}: {error.strerror or error}",
            hint="choose another one with --data-dir, or correct its permissions",
        ) from error


def load(
    data_dir: Path, store: SnapshotStore, *, cluster_id: str | None, name: str, synced: bool = False
) -> tuple[DiskLog, Snapshot | None]:
    """The log and the snapshot after every check. Raises DataCorrupt that names the damaged file.

    A `cluster_id` of None takes a log of any cluster. With `synced` the log is stable only once the disk has it.
    """
    directory = raft_directory(data_dir)
    if not directory.is_dir():
        raise corrupt(directory, "it is missing, although this peer has been part of a cluster")
    try:
        snapshot = store.load()
        log = (SyncedLog if synced else DiskLog)(directory, cluster_id=cluster_id, name=name)
    except OSError as error:
        raise MachineUnusable(f"cannot read {directory}: {error.strerror or error}") from error
    if not log.entries:
        raise corrupt(log.path, "it holds no entry")
    if snapshot is None:
        if log.first_index != 1:
            raise corrupt(
                directory / "snapshot", f"it is missing, and the log begins only with entry {log.first_index}"
            )
        return log, None
    last, term = snapshot.key
    if log.first_index > last:
        raise corrupt(log.path, f"it begins with entry {log.first_index}, the snapshot ends with {last}")
    if log.term < term:
        raise corrupt(log.vote_path, f"its term {log.term} is older than that of the snapshot")
    place = last - log.first_index
    if place >= len(log) or log[place][2] != term:
        # Killed between storing a received snapshot and beginning the log anew after it; the snapshot is committed.
        log.reset(last, term)
    return log, snapshot

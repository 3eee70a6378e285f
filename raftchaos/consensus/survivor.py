"""Going on with one voter when the majority is lost for good: offline, on the files of a peer that is stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raftchaos.consensus import bootstrap
from raftchaos.consensus.entries import Configuration, decode_configuration, encode_configuration
from raftchaos.consensus.snapshot import Snapshot, SnapshotStore
from raftchaos.consensus.storage import DiskLog
from raftchaos.errors import MachineUnusable, Refused


@dataclass(frozen=True, slots=True)
class Survivor:
    """What one peer has of its cluster."""

    cluster_id: str
    members: dict[str, str]
    """Name and Raft address of every voter and observer that it knows."""
    term: int
    """Term of the last entry."""
    last_index: int
    """Its log ends with this entry."""
    commit_index: int
    """Up to this entry it knew that a majority had them; nobody can tell that of those after it."""


def survey(data_dir: Path, *, name: str) -> Survivor:
    """Look at the files of a peer that is stopped. Raises DataCorrupt, MachineUnusable, and Refused for a peer that was
    never let into its cluster.
    """
    log, survivor = _load(data_dir, name)
    log.close()
    return survivor


def go_on_alone(data_dir: Path, *, name: str, cluster_id: str) -> Survivor:
    """Make the peer the only voter of the new cluster `cluster_id`, which begins with everything in its log.

    Entries after the commit index are kept: each may have been answered. Killed in the middle it may be done again.
    Raises as `survey`.
    """
    log, survivor = _load(data_dir, name)
    try:
        log.setCurrentTerm(max(log.term, survivor.term) + 1, name)
        address = survivor.members.get(name, "")
        log.begin_cluster(
            cluster_id, (encode_configuration(Configuration({name: address})), log.last_index + 1, log.term)
        )
        log.flush()
    except OSError as error:
        raise MachineUnusable(f"cannot write {log.path}: {error.strerror or error}") from error
    finally:
        log.close()
    return survivor


def _load(data_dir: Path, name: str) -> tuple[DiskLog, Survivor]:
    store = SnapshotStore(bootstrap.raft_directory(data_dir) / "snapshot")
    try:
        log, snapshot = bootstrap.load(data_dir, store, cluster_id=None, name=name, synced=True)
    finally:
        store.close()
    members = _members(log, snapshot)
    if name not in members:
        log.close()
        raise Refused(
            f"{name} was never let into its cluster, or was removed from it: it has nothing to go on with",
            hint="choose another survivor, or restore a backup",
        )
    commit = max(log.commit, snapshot.key.last if snapshot is not None else 0)
    return log, Survivor(log.cluster_id, members, log.entries[-1][2], log.last_index, commit)


def _members(log: DiskLog, snapshot: Snapshot | None) -> dict[str, str]:
    """Everyone in the newest configuration. An observer, too, has the log: it may go on as well as a voter."""
    found = snapshot.configuration if snapshot is not None else Configuration({})
    for content, _, _ in log.entries:
        found = decode_configuration(content) or found
    return {**found.voters, **found.observers}

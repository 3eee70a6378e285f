"""What is done to the data directory of a peer that is stopped, when a cluster is lost."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raftchaos.agent.data_directory import DataDirectory, Identity
from raftchaos.clock import Clock
from raftchaos.consensus import bootstrap, survivor
from raftchaos.consensus.survivor import Survivor
from raftchaos.core import backup
from raftchaos.core.restoration import Restored, restored
from raftchaos.errors import Conflict, DataCorrupt, MachineUnusable, NotFound, UsageError
from raftchaos.files import write_atomically
from raftchaos.identity.certificates import Authority
from raftchaos.identity.files import KeyFolder


@contextlib.contextmanager
def _opened(data_dir: Path) -> Iterator[tuple[DataDirectory, Identity]]:
    if not data_dir.is_dir():
        raise NotFound(f"there is no folder {data_dir}", hint="name the data directory of a peer with --data-dir")
    directory = DataDirectory(data_dir)
    try:
        identity = directory.identity
        if identity is None or not identity.member:
            raise NotFound(f"{data_dir} has not belonged to a peer of a cluster", hint="name another one")
        yield directory, identity
    finally:
        directory.close()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A peer that may go on alone."""

    name: str
    has: Survivor


def look(data_dir: Path) -> Candidate:
    """What the peer of this data directory has. Raises MachineUnusable while it runs, DataCorrupt, NotFound."""
    with _opened(data_dir) as (_, identity):
        return Candidate(identity.name, survivor.survey(data_dir, name=identity.name))


def force_new_cluster(data_dir: Path) -> str:
    """Make the peer the only voter of a new cluster; returns the cluster's id. Raises as `look`."""
    with _opened(data_dir) as (directory, identity):
        cluster = uuid.uuid4().hex
        survivor.go_on_alone(data_dir, name=identity.name, cluster_id=cluster)
        directory.adopt_cluster(cluster, founds=True)
        return cluster


def read_backup(path: Path) -> backup.Backup:
    """The backup in this file. Raises UsageError if it cannot be read, DataCorrupt if it cannot be believed."""
    try:
        if path.stat().st_size > backup.LARGEST:
            raise DataCorrupt(f"{path} has {path.stat().st_size} bytes, a backup has at most {backup.LARGEST}")
        return backup.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="check the path") from None
    except ValueError as error:
        raise DataCorrupt(f"{path} cannot be restored: {error}", hint="take another backup") from None


def restore(saved: backup.Backup, data_dir: Path, *, name: str, address: str, clock: Clock) -> tuple[str, Restored]:
    """Found a new cluster of one peer with the saved state in an empty folder.

    `address` is the Raft address that others will reach it at. Returns the id of the new cluster and what was made of
    the state. Raises Conflict if the folder has belonged to a peer, DataCorrupt if the state cannot be believed.
    """
    try:
        begin = restored(saved.state, int(clock.wall() * 1000))
    except ValueError as error:
        raise DataCorrupt(
            f"the saved state of release {saved.release} cannot be restored: {error}",
            hint="use the release of raftchaos that made the backup, or a later one",
        ) from None
    directory = DataDirectory(data_dir)
    try:
        if directory.identity is not None and directory.identity.member:
            raise Conflict(
                f"{data_dir} has belonged to the peer {directory.identity.name} already",
                hint="name an empty folder with --data-dir",
            )
        directory.begin(name, clock)
        cluster = directory.adopt_cluster(uuid.uuid4().hex, founds=True).cluster
        bootstrap.found_with(
            data_dir, cluster_id=cluster, name=name, address=address, state=begin.state, last=begin.index
        )
        authority = Authority.create(cluster, clock.wall())
        keys = KeyFolder(data_dir)
        keys.write_authority(authority)
        keys.write_authorities([authority.certificate])
        directory.become_member()
    finally:
        directory.close()
    return cluster, begin


def write_backup(path: Path, data: bytes) -> backup.Backup:
    """Check a backup and put it into a file that does not exist yet. Raises Conflict, DataCorrupt, MachineUnusable."""
    try:
        saved = backup.decode(data)
    except ValueError as error:
        raise DataCorrupt(f"what the peer sent is no sound backup: {error}", hint="repeat it") from None
    if path.exists():
        raise Conflict(f"{path} exists already", hint="name another file")
    if not path.parent.is_dir():
        raise MachineUnusable(f"there is no folder {path.parent}")
    write_atomically(path, data)
    return saved


__all__ = ["Candidate", "force_new_cluster", "look", "read_backup", "restore", "write_backup"]

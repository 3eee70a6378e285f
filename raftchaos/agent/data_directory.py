"""The data directory of a peer: one owner at a time, and who the peer is."""

from __future__ import annotations

import fcntl
import os
import uuid
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from raftchaos.clock import Clock
from raftchaos.errors import Conflict, DataCorrupt, MachineUnusable
from raftchaos.files import read_record, write_record


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the peer is, for as long as its data directory exists."""

    name: str
    cluster: str
    """Id of the cluster that it founds, joins or belongs to; empty before that."""
    member: bool
    """Whether its Raft files were made; from then on they must be there."""
    voted: bool
    """Whether it was let in, to vote or to observe: one that is no member any more was removed, and does not join again
    by itself."""
    directory: str
    """Random, made with the directory: tells a peer that lost its data directory from the one that had it."""
    incarnation: int
    """Of the newest start; grows with each and is never reused."""


class DataDirectory:
    """Opens the directory, holds its lock, and keeps the identity in `identity.msgpack`."""

    def __init__(self, path: Path) -> None:
        """Create the directory if need be and lock it. Raises MachineUnusable, DataCorrupt."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise MachineUnusable(
                f"the data directory {path} cannot be used: {error.strerror}",
                hint="name a folder that this user may write with --data-dir",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise MachineUnusable(
                f"the data directory {path} is in use by another peer",
                hint="stop that peer, or give this one a folder of its own with --data-dir",
            ) from None
        self.identity = self._read()

    def _read(self) -> Identity | None:
        file = self.path / "identity.msgpack"
        value = read_record(file)
        if value is None:
            if (self.path / "raft").exists():
                raise DataCorrupt(f"{file} is missing although {self.path / 'raft'} exists")
            return None
        try:
            return Identity(**{field.name: value[field.name] for field in fields(Identity)})
        except (KeyError, TypeError) as error:
            raise DataCorrupt(f"{file} is damaged: {error!r} is missing") from error

    def begin(self, name: str, clock: Clock) -> Identity:
        """The identity of this start: a new incarnation, on disk before anybody hears of it.

        Raises Conflict if the directory belongs to a peer of another name.
        """
        old = self.identity
        if old is not None and old.name != name:
            raise Conflict(
                f"the data directory {self.path} belongs to the peer {old.name!r}, found --name {name!r}",
                hint=f"start it with --name {old.name}, or name another --data-dir",
            )
        started = int(clock.wall() * 1000)
        if old is None:
            self._write(Identity(name, "", False, False, uuid.uuid4().hex, started))
        else:
            self._write(replace(old, incarnation=max(old.incarnation + 1, started)))
        assert self.identity is not None
        return self.identity

    def adopt_cluster(self, cluster: str, *, founds: bool = False) -> Identity:
        """Remember the cluster that this peer joins or, which is being let in as well, founds, before its Raft files
        are made.
        """
        assert self.identity is not None
        self._write(replace(self.identity, cluster=cluster, voted=founds))
        return self.identity

    def become_member(self) -> None:
        """Remember that the Raft files were made: a later start without them is refused, never a fresh one."""
        assert self.identity is not None
        if not self.identity.member:
            self._write(replace(self.identity, member=True))

    def let_in(self) -> None:
        """Remember that this peer was let in."""
        assert self.identity is not None
        if not self.identity.voted:
            self._write(replace(self.identity, voted=True))

    def _write(self, identity: Identity) -> None:
        write_record(self.path / "identity.msgpack", asdict(identity))
        self.identity = identity

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)

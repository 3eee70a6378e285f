"""The snapshot: one immutable sealed file, written aside and renamed, sent to others in acknowledged chunks."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from raftchaos import limits
from raftchaos.consensus import codec, files
from raftchaos.consensus.entries import Configuration, check_configuration
from raftchaos.consensus.files import Offload, at_once

logger = logging.getLogger(__name__)

MAGIC: Final = b"RCRAFTSN"
CHUNK: Final = 256 * 1024  # bytes sent before the receiver must acknowledge
OVERHEAD: Final = 1024 * 1024  # members and heads around the state, at most


class Key(NamedTuple):
    """Which snapshot: the last entry that it contains."""

    last: int
    term: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state after the entry `key`, and who was a member at that point."""

    key: Key
    configuration: Configuration
    configuration_index: int
    state: bytes

    def encode(self) -> bytes:
        """As a sealed file."""
        return files.seal(
            MAGIC, codec.dumps((*self.key, self.configuration.value(), self.configuration_index, self.state))
        )

    @classmethod
    def decode(cls, data: bytes) -> Snapshot:
        """Raises ValueError if any check fails, MachineUnusable for one of a later release."""
        last, term, members, members_index, state = codec.loads(files.unseal(MAGIC, data))
        if not all(isinstance(value, int) for value in (last, term, members_index)) or not isinstance(state, bytes):
            raise ValueError("its fields are of the wrong kind")
        return cls(Key(last, term), check_configuration(members), members_index, state)


class SnapshotStore:
    """Keeps the newest snapshot in a file, or in memory if there is no path. At most one is being written."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.offload: Offload = at_once
        """How files are written; whoever has an event loop replaces it."""
        self.key: Key | None = None
        self.busy = False
        self._data = b""
        self._fd = -1
        self._length = 0
        self._incoming: tuple[Key, bytearray] | None = None

    def load(self) -> Snapshot | None:
        """The stored snapshot after all checks; None if there is none. Raises DataCorrupt."""
        try:
            data = self._data if self.path is None else self.path.read_bytes()
        except FileNotFoundError:
            return None
        if self.path is None and not data:
            return None
        try:
            snapshot = Snapshot.decode(data)
        except (ValueError, TypeError) as error:
            raise files.corrupt(self.path or "the snapshot", str(error)) from None
        self._present(snapshot.key, data)
        return snapshot

    def save(self, key: Key, data: bytes, wanted: Callable[[], bool], done: Callable[[], None]) -> None:
        """Write a snapshot aside, off the loop. If it is still wanted then, it takes the place of the old one.

        The rename happens on the loop, so that an older snapshot never replaces a newer one.
        """
        self.busy = True
        new = self.path.with_name(self.path.name + ".new") if self.path is not None else None

        def written(error: BaseException | None) -> None:
            self.busy = False
            if error is not None:
                raise error
            if wanted():
                if new is not None and self.path is not None:
                    new.rename(self.path)
                self._present(key, data)
                done()

        def write() -> None:
            if new is not None:
                files.write_new(new, data, sync=True)

        self.offload(write, written)

    def chunk(self, offset: int) -> tuple[bytes, bool]:
        """The bytes at `offset`, and whether they are the last ones."""
        data = os.pread(self._fd, CHUNK, offset) if self.path is not None else self._data[offset : offset + CHUNK]
        return data, offset + len(data) >= self._length

    def receive(self, key: Key, offset: int, data: bytes, last: bool) -> int | bytes:
        """Take a chunk. Returns the offset wanted next, or the whole checked snapshot as bytes."""
        if offset == 0:
            self._incoming = (key, bytearray())
        if self._incoming is None or self._incoming[0] != key:
            return 0
        have = self._incoming[1]
        if len(have) != offset:
            return len(have)
        have += data
        if len(have) > limits.SNAPSHOT + OVERHEAD:
            self._incoming = None
            raise ValueError(f"a snapshot of more than {limits.SNAPSHOT + OVERHEAD} bytes was announced")
        if not last:
            return len(have)
        self._incoming = None
        try:
            if Snapshot.decode(bytes(have)).key != key:
                raise ValueError("it is another one than was announced")
        except (ValueError, TypeError) as error:
            logger.warning("a received snapshot is asked for again: %s", error)
            return 0
        return bytes(have)

    def _present(self, key: Key, data: bytes) -> None:
        self.close()
        self.key, self._length = key, len(data)
        if self.path is None:
            self._data = data
        else:
            self._fd = os.open(self.path, os.O_RDONLY)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

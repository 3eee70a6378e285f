"""Where a replica remembers: its log, its term and its vote.

`MemoryLog` is the log as PySyncObj uses it and forgets everything with the process; simulations build their disks on
it. `DiskLog` adds two files. `log` is append-only: a head, then records of length, checksum of the body, checksum of
both, body. `vote` holds term and vote and is replaced, synced, before either is used.

Adding to the log only fills a buffer; `flush()` hands everything to the kernel, after which it survives SIGKILL. No
promise to another peer may leave before `stable` has reached what it promises. `synced.SyncedLog` moves `stable` only
once the disk has it.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pysyncobj.journal import Journal

from raftchaos.consensus import codec, files
from raftchaos.consensus.entries import NOOP, LogEntry, check_addresses

logger = logging.getLogger(__name__)

LOG_MAGIC: Final = b"RCRAFTLG"
VOTE_MAGIC: Final = b"RCRAFTVT"
_HEAD: Final = struct.Struct("<II")  # length and crc32 of the body
_CHECK: Final = struct.Struct("<I")  # crc32 of the two: damage to a length is not an incomplete last record
_ZEROS: Final = 16  # so many at the end of the file are no part of a record that is damaged otherwise
_SECTOR: Final = 512  # bytes that a disk writes wholly or not at all
_OWNER, _HINTS, _ENTRY, _TRUNCATE, _COMMIT = range(5)


class MemoryLog(Journal):  # type: ignore[misc]
    """Entries without gaps, the first of which every other peer of the cluster has, or had, too."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.bytes = 0
        self.term = 0
        self.vote: str | None = None
        self.commit = 1
        self.stable = 0
        self.hints: dict[str, str] = {}
        self.offload: files.Offload = files.at_once
        """How files are synced; whoever has an event loop replaces it."""

    # ---- what PySyncObj calls

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append an entry."""
        self.entries.append((command, idx, term))
        self.bytes += len(command)

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        """Delete the entry at this position and all after it."""
        self.bytes -= sum(len(entry[0]) for entry in self.entries[entryFrom:])
        del self.entries[entryFrom:]
        self.stable = min(self.stable, self.last_index)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """Remember term and vote; they are safe when this returns."""
        self.term, self.vote = term, votedForNodeId

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        """Note how far the log is known to be committed; may be forgotten in a crash."""
        self.commit = raftCommitIndex

    def getCurrentTerm(self) -> int:
        """The remembered term."""
        return self.term

    def getVotedForNodeId(self) -> str | None:
        """Whom this peer voted for in that term."""
        return self.vote

    def getRaftCommitIndex(self) -> int:
        """The remembered commit index."""
        return self.commit

    def __getitem__(self, item: Any) -> Any:
        return self.entries[item]

    def __len__(self) -> int:
        return len(self.entries)

    def _destroy(self) -> None:
        self.close()

    # ---- what the mends call

    @property
    def first_index(self) -> int:
        """Index of the oldest entry kept."""
        return self.entries[0][1] if self.entries else 0

    @property
    def last_index(self) -> int:
        """Index of the newest entry."""
        return self.entries[-1][1] if self.entries else 0

    @property
    def wasteful(self) -> bool:
        """The place that the log takes is far more than its entries need."""
        return False

    def compact(self, first_index: int) -> None:
        """Forget the entries before `first_index`; a snapshot holds what they did."""
        del self.entries[: first_index - self.first_index]
        self.bytes = sum(len(entry[0]) for entry in self.entries)

    def reset(self, index: int, term: int) -> None:
        """Begin anew after a snapshot that ends with this entry."""
        self.entries = [(NOOP, index, term)]
        self.bytes = 1
        self.stable = 0

    def flush(self) -> None:
        """Make everything added so far safe, or begin to: `stable` says how far it is. Raises OSError."""
        self.stable = self.last_index

    def close(self) -> None:
        """Flush and let go."""
        self.flush()


def _record(*values: object) -> bytes:
    body = codec.dumps(values)
    head = _HEAD.pack(len(body), zlib.crc32(body))
    return head + _CHECK.pack(zlib.crc32(head)) + body


class DiskLog(MemoryLog):
    """The log in the files `log` and `vote` of a directory. Raises DataCorrupt if they cannot be believed."""

    def __init__(self, directory: Path, *, cluster_id: str | None, name: str) -> None:
        """`cluster_id` is the cluster that it must belong to; None takes it whichever it is."""
        super().__init__()
        self.path, self.vote_path = directory / "log", directory / "vote"
        self._owner = (cluster_id, name)
        self._buffer: list[bytes] = []
        self._commit_written = 1
        self._size = 0
        self._read_vote()
        self._read_log()
        self.stable = self.last_index
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    @classmethod
    def prepare(
        cls, directory: Path, *, cluster_id: str, name: str, entries: list[LogEntry], hints: dict[str, str]
    ) -> None:
        """Write the two files of a peer that starts for the first time. Raises OSError."""
        files.replace_sealed(directory / "vote", VOTE_MAGIC, codec.dumps((0, None)))
        content = [files.seal(LOG_MAGIC, b""), _record(_OWNER, cluster_id, name), _record(_HINTS, hints)]
        content += [_record(_ENTRY, *entry) for entry in entries]
        files.write_new(directory / "log", b"".join(content), sync=True)

    # ---- reading

    def _read_vote(self) -> None:
        body = files.read_sealed(self.vote_path, VOTE_MAGIC)
        try:
            term, vote = codec.loads(body)
            if not isinstance(term, int) or term < 0 or not (vote is None or isinstance(vote, str)):
                raise ValueError("term and vote are of the wrong kind")
        except (ValueError, TypeError) as error:
            raise files.corrupt(self.vote_path, str(error)) from None
        self.term, self.vote = term, vote

    def _read_log(self) -> None:
        head = len(files.seal(LOG_MAGIC, b""))
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            raise files.corrupt(self.path, "it is missing, although other files of this peer exist") from None
        try:
            files.unseal(LOG_MAGIC, data[:head])
            owned = False
            for values in self._records(data, head):
                owned = self._replay(owned, *values)
            if not owned:
                raise ValueError("it does not say whose it is")
        except (ValueError, TypeError) as error:
            raise files.corrupt(self.path, str(error)) from None
        if self.commit > max(1, self.last_index):
            raise files.corrupt(self.path, f"entry {self.commit} was committed, the last one here is {self.last_index}")
        if self.entries and self.entries[-1][2] > self.term:
            raise files.corrupt(self.vote_path, f"its term {self.term} is older than the last entry of the log")

    def _records(self, data: bytes, at: int) -> Iterator[tuple[Any, ...]]:
        """Every whole record. An incomplete last one was never acknowledged and is cut off; other damage raises."""
        arrived = len(data.rstrip(b"\0"))
        zeros_from = max(len(data) - _ZEROS, (len(data) - 1) // _SECTOR * _SECTOR)
        while at < len(data):
            body_at = at + _HEAD.size + _CHECK.size
            head, check = data[at : at + _HEAD.size], data[at + _HEAD.size : body_at]
            end = body_at
            if body_at <= len(data) and _CHECK.unpack(check)[0] == zlib.crc32(head):
                end += _HEAD.unpack(head)[0]
                body = data[body_at:end]
                if end <= len(data) and zlib.crc32(body) == _HEAD.unpack(head)[1]:
                    yield codec.loads(body)
                    at = end
                    continue
            # A file system may give a file its new size before the bytes: after a power cut they are zeros.
            never_arrived = arrived <= at or (arrived < end and arrived <= zeros_from)
            if end <= len(data) and not never_arrived:
                what = "the head of the record" if end == body_at else "the record"
                raise ValueError(f"{what} at byte {at} does not match its checksum")
            logger.warning("%s: cut off an incomplete last record of %d bytes", self.path, len(data) - at)
            os.truncate(self.path, at)
            break
        self._size = at

    def _replay(self, owned: bool, kind: int, *values: Any) -> bool:
        if kind == _OWNER:
            if self._owner[0] is None:
                self._owner = (values[0], self._owner[1])
            if values != self._owner:
                raise ValueError(
                    f"it belongs to peer {values[1]!r} of cluster {values[0]}, "
                    f"expected {self._owner[1]!r} of {self._owner[0]}"
                )
            return True
        if kind == _HINTS:
            self.hints = check_addresses(values[0])
        elif kind == _ENTRY:
            command, index, term = values
            if self.entries and (index != self.last_index + 1 or term < self.entries[-1][2]):
                raise ValueError(f"entry {index} of term {term} follows entry {self.last_index}")
            super().add(command, index, term)
        elif kind == _TRUNCATE:
            if not self.first_index < values[0] <= self.last_index:
                raise ValueError(f"it was cut at entry {values[0]}, which it does not have")
            super().deleteEntriesFrom(values[0] - self.first_index)
        elif kind == _COMMIT:
            self.commit = self._commit_written = int(values[0])
        else:
            raise ValueError(f"unknown kind of record {kind}")
        return owned

    # ---- writing

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append an entry; safe after the next `flush()`."""
        super().add(command, idx, term)
        self._buffer.append(_record(_ENTRY, command, idx, term))

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        """Delete the entry at this position and all after it."""
        if entryFrom < len(self.entries):
            self._buffer.append(_record(_TRUNCATE, self.entries[entryFrom][1]))
            super().deleteEntriesFrom(entryFrom)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """Replace the vote file; it is on the disk when this returns. Raises OSError."""
        files.replace_sealed(self.vote_path, VOTE_MAGIC, codec.dumps((term, votedForNodeId)))
        super().setCurrentTerm(term, votedForNodeId)

    def onOneSecondTimer(self) -> None:
        """Note the commit index, so that a restarted peer shows its state before it has found the others."""
        if self._commit_written != self.commit <= self.last_index:
            self._commit_written = self.commit
            self._buffer.append(_record(_COMMIT, self.commit))

    @property
    def wasteful(self) -> bool:
        """Truncated and forgotten entries take most of the file."""
        return self._size > 4 * self.bytes + 16 * 1024 * 1024

    def compact(self, first_index: int) -> None:
        """Forget the entries before `first_index` by writing a new file and renaming it."""
        super().compact(first_index)
        self._rewrite()

    def reset(self, index: int, term: int) -> None:
        """Begin anew after a snapshot that ends with this entry."""
        super().reset(index, term)
        self.commit = index
        self.hints = {}
        self._rewrite()

    @property
    def cluster_id(self) -> str:
        """The cluster that it belongs to."""
        return str(self._owner[0])

    def begin_cluster(self, cluster_id: str, entry: LogEntry) -> None:
        """From now on it belongs to another cluster, in which all of it and then `entry` is committed."""
        super().add(*entry)
        self._owner = (cluster_id, self._owner[1])
        self.commit = self.last_index
        self._rewrite()

    def _rewrite(self) -> None:
        """At no moment are the old entries gone and the new ones not there (PySyncObj's own log has that moment)."""
        data = self._content()
        new = self.path.with_name("log.new")
        files.write_new(new, data, sync=False)
        new.rename(self.path)
        os.close(self._fd)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self._buffer = []
        self._size = len(data)
        self.stable = self.last_index

    def _content(self) -> bytes:
        """A file that holds what this log is now."""
        self._commit_written = min(self.commit, self.last_index)
        content = [files.seal(LOG_MAGIC, b""), _record(_OWNER, *self._owner), _record(_HINTS, self.hints)]
        content += [_record(_ENTRY, *entry) for entry in self.entries]
        content.append(_record(_COMMIT, self._commit_written))
        return b"".join(content)

    def flush(self) -> None:
        """Hand everything added so far to the kernel in one write. Raises OSError."""
        if self._buffer:
            data, self._buffer = b"".join(self._buffer), []
            files.write_all(self._fd, data)
            self._size += len(data)
        self.stable = self.last_index

    def close(self) -> None:
        """Flush and close the file; may be called twice."""
        if self._fd >= 0:
            self.onOneSecondTimer()
            self.flush()
            os.close(self._fd)
            self._fd = -1

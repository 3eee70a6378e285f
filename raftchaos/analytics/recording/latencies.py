"""The histograms of one ring: those of the buckets that are written now as arrays, all others packed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from raftchaos import limits
from raftchaos.analytics.recording.histogram import Ints, Part, pack, unpack
from raftchaos.core.histogram import BUCKETS

ROWS: Final = 1 + limits.EVENT_BUSIEST
"""Row 0 is of all events; the others are of the endpoints that are busiest now."""
_OPEN: Final = 2  # buckets that are open at once: this one, and the one before for what comes late
_READ: Final = 60  # buckets that are kept unpacked: an hour of minutes is read owner after owner
_OVERHEAD: Final = 150  # bytes of an entry beside its blob


class _Open:
    """A bucket of time that is written: one row of counts for each owner, and the histograms of former owners."""

    __slots__ = ("former", "rows")

    def __init__(self) -> None:
        self.rows = np.zeros((ROWS, BUCKETS), dtype=np.int64)
        self.former: dict[int, Part] = {}


class Latencies:
    """Histograms by number of the bucket of time and by owner: 0 is all events, other numbers are endpoints.

    No more bytes are kept than `set_room` said last: the oldest bucket's go, which `forgotten` counts.
    """

    def __init__(self) -> None:
        self.packed: dict[int, bytes] = {}
        self.forgotten = 0
        self._room = 0
        self._bytes = 0
        self._open: dict[int, _Open] = {}
        self._unpacked: OrderedDict[int, list[Part]] = OrderedDict()
        self._owners: tuple[int, ...] = (0,)

    def set_owners(self, owners: Sequence[int]) -> None:
        """These are the busiest endpoints from now on, in the order of the rows after the first."""
        self.close()
        self._owners = (0, *owners)

    def add(self, number: int, cells: Ints, counts: Ints) -> None:
        """Add counts to a bucket of time; `cells` are row * BUCKETS + bucket, each at most once."""
        if number not in self._open:
            self._reopen(number)
        self._open[number].rows.reshape(-1)[cells] += counts

    def read(self, number: int, owner: int) -> Ints | None:
        """Counts by bucket; None if nothing of this owner is kept."""
        for part in self.parts(number):
            if part.owner == owner:
                counts = np.zeros(BUCKETS, dtype=np.int64)
                counts[part.buckets] = part.counts
                return counts
        return None

    def parts(self, number: int) -> list[Part]:
        """All that is kept of a bucket of time."""
        if number in self._open:
            return self._collected(self._open[number])
        parts = self._unpacked.get(number)
        if parts is None:
            blob = self.packed.get(number)
            parts = self._unpacked[number] = [] if blob is None else unpack(blob)
            if len(self._unpacked) > _READ:
                self._unpacked.popitem(last=False)
        return parts

    def set_room(self, room: int) -> None:
        """So many bytes may be kept from now on."""
        self._room = room
        self._make_room()

    def drop(self, number: int) -> None:
        """Forget a bucket of time."""
        self._open.pop(number, None)
        self._unpacked.pop(number, None)
        blob = self.packed.pop(number, None)
        if blob is not None:
            self._bytes -= len(blob) + _OVERHEAD

    def close(self) -> None:
        """Pack all that is open."""
        for number in list(self._open):
            self._pack(number)

    def restore(self, packed: dict[int, bytes]) -> None:
        """Take what `packed` was. Raises DataCorrupt."""
        for blob in packed.values():
            unpack(blob)
        self.packed = dict(sorted(packed.items()))
        self._unpacked.clear()
        self._bytes = sum(len(blob) + _OVERHEAD for blob in packed.values())
        self._make_room()

    def _collected(self, bucket: _Open) -> list[Part]:
        parts = dict(bucket.former)
        for owner, row in zip(self._owners, bucket.rows, strict=False):
            (used,) = np.nonzero(row)
            if len(used):
                parts[owner] = Part(owner, used, row[used])
        whole = [parts.pop(0)] if 0 in parts else []
        endpoints = sorted(parts.values(), key=lambda part: (-int(part.counts.sum()), part.owner))
        return whole + endpoints[: limits.EVENT_BUSIEST]

    def _reopen(self, number: int) -> None:
        while len(self._open) >= _OPEN:
            self._pack(next(iter(self._open)))
        bucket = _Open()
        for part in self.parts(number):
            if part.owner in self._owners:
                bucket.rows[self._owners.index(part.owner), part.buckets] = part.counts
            else:
                bucket.former[part.owner] = part
        self.drop(number)
        self._open[number] = bucket

    def _pack(self, number: int) -> None:
        parts = self._collected(self._open.pop(number))
        self.packed[number] = pack(parts)
        self._unpacked.pop(number, None)
        self._bytes += len(self.packed[number]) + _OVERHEAD
        self._make_room()

    def _make_room(self) -> None:
        while self._bytes > self._room:
            self.drop(min(self.packed))
            self.forgotten += 1

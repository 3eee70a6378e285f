"""The log histogram of `core.histogram` counted by numpy, and many of them packed into few bytes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from raftchaos.analytics.series import Floats
from raftchaos.core.histogram import BUCKETS, HIGHEST, LOWEST, SCALE, rank_of, value_of
from raftchaos.errors import DataCorrupt

Ints = npt.NDArray[np.int64]
_SHIFT: Final = -np.log(LOWEST) * SCALE
_VALUES: Final = np.array([value_of(bucket) for bucket in range(BUCKETS)])
_NONE: Final[Ints] = np.zeros(0, dtype=np.int64)
_PARTS_MOST: Final = 64
_BLOB_MOST: Final = 4 + _PARTS_MOST * (8 + BUCKETS * 10)


def buckets_of(values: Floats) -> Ints:
    """The bucket of each value; none may be NaN. At most 52 million a second."""
    clipped = np.clip(values, LOWEST, HIGHEST)
    np.log(clipped, out=clipped)
    clipped *= SCALE
    clipped += _SHIFT
    return np.clip(np.ceil(clipped), 0, BUCKETS - 1).astype(np.int64)


def histogram(values: Floats) -> Ints:
    """Counts by bucket."""
    return np.bincount(buckets_of(values), minlength=BUCKETS)


def quantile(counts: Ints, q: float) -> float:
    """The q-quantile of counts by bucket, within 1 % of the true one; NaN if nothing was counted."""
    reached = np.cumsum(counts)
    total = int(reached[-1])
    return float(_VALUES[np.searchsorted(reached, rank_of(q, total))]) if total else float("nan")


class Part(NamedTuple):
    """One histogram among others: who it belongs to, its buckets in rising order, and their counts."""

    owner: int
    buckets: Ints
    counts: Ints


def pack(parts: Sequence[Part]) -> bytes:
    """Histograms as few bytes: distances and counts by byte planes, of which most are zeros, deflated."""
    sizes = np.array([[part.owner, len(part.buckets)] for part in parts], dtype="<u4").reshape(-1, 2)
    gaps = np.concatenate([np.diff(part.buckets, prepend=0) for part in parts] or [_NONE]).astype("<u2")
    counts = np.concatenate([part.counts for part in parts] or [_NONE]).astype("<u8")
    planes = (gaps.view("u1").reshape(-1, 2).T.tobytes(), counts.view("u1").reshape(-1, 8).T.tobytes())
    return zlib.compress(np.array(len(parts), dtype="<u4").tobytes() + sizes.tobytes() + b"".join(planes), 1)


def unpack(blob: bytes) -> list[Part]:
    """What `pack` has packed. Raises DataCorrupt."""
    try:
        inflater = zlib.decompressobj()
        data = inflater.decompress(blob, _BLOB_MOST)
        if inflater.unconsumed_tail or not inflater.eof:
            raise ValueError("more than it can be")
        many = int(np.frombuffer(data, "<u4", 1)[0])
        sizes = np.frombuffer(data, "<u4", 2 * many, 4).reshape(-1, 2)
        total, place = int(sizes[:, 1].sum()), 4 + 8 * many
        if many > _PARTS_MOST or len(data) != place + 10 * total:
            raise ValueError(f"{len(data)} bytes")
        planes = np.frombuffer(data, "u1", offset=place)
        gaps = np.ascontiguousarray(planes[: 2 * total].reshape(2, -1).T).view("<u2").ravel().astype(np.int64)
        counts = np.ascontiguousarray(planes[2 * total :].reshape(8, -1).T).view("<u8").ravel().astype(np.int64)
    except (ValueError, zlib.error) as error:
        raise DataCorrupt(f"histograms are damaged: found {error}, expected what was packed here") from None
    parts, begin = [], 0
    for owner, size in sizes.tolist():
        buckets = np.cumsum(gaps[begin : begin + size])
        if size and (buckets[-1] >= BUCKETS or (gaps[begin + 1 : begin + size] == 0).any()):
            raise DataCorrupt("histograms are damaged: found buckets that do not rise, or too high ones")
        parts.append(Part(owner, buckets, counts[begin : begin + size]))
        begin += size
    return parts

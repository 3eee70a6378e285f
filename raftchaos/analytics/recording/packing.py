"""Arrays as deflated bytes, and back with every size known beforehand."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt


def packed(array: npt.NDArray[Any]) -> bytes:
    """The bytes of an array, deflated."""
    return zlib.compress(np.ascontiguousarray(array).tobytes(), 1)


def unpack_into(array: npt.NDArray[Any], data: Any) -> None:
    """Fill an array with what `packed` made of one like it. Raises ValueError if it is anything else."""
    if not isinstance(data, bytes):
        raise ValueError(f"{type(data).__name__} in place of bytes")
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data, array.nbytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(raw) != array.nbytes or not inflater.eof:
        raise ValueError(f"{len(raw)} bytes in place of {array.nbytes}")
    array[...] = np.frombuffer(raw, array.dtype).reshape(array.shape)

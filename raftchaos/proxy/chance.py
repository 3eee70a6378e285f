"""Chance without a generator: keyed hashes of a seed and a position. And numbers among parameters, checked. Pure."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from typing import Any


class ParameterError(ValueError):
    """A parameter of a fault that cannot be used; the message says what was found and what was expected."""


def draw(seed: int, *position: int | str) -> float:
    """A number from 0 up to 1, the same for the same seed and position."""
    key = ":".join(map(str, (seed, *position))).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big") / (1 << 56)


def number(parameters: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    """The number `name` of the parameters, from `low` to `high`. Raises ParameterError."""
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ParameterError(f"{name} is {value!r}, expected a number from {low:g} to {high:g}")
    return float(value)


def word(parameters: Mapping[str, Any], name: str, *known: str) -> str:
    """The word `name` of the parameters, one of these; the first is the default. Raises ParameterError."""
    value = parameters.get(name, known[0])
    if value not in known:
        raise ParameterError(f"{name} is {value!r}, expected one of {', '.join(known)}")
    return str(value)


class Numbers:
    """Numbers from 0 up to 1, one after the other, the same for the same seed and place; many at little cost."""

    __slots__ = ("_key", "_left", "_rounds")

    def __init__(self, seed: int, *place: int | str) -> None:
        self._key = ":".join(map(str, (seed, *place))).encode()
        self._rounds = 0
        self._left: list[int] = []

    def next(self) -> float:
        """The next number."""
        if not self._left:
            self._rounds += 1
            digest = hashlib.shake_128(self._key + b"/%d" % self._rounds).digest(_BATCH.size)
            self._left = list(_BATCH.unpack(digest))
        return self._left.pop() / (1 << 32)


_BATCH = struct.Struct("256I")
_FAR = 1e18  # bytes: farther than any stream reaches


class Damage:
    """Bytes of a stream that are changed, each with the same chance: the distances from one to the next are drawn.

    `bitFlips` turns a bit of such a byte, `randomBytes` makes any other byte of it.
    """

    __slots__ = ("_flips", "_left", "_log", "_numbers")

    def __init__(self, rate: float, mode: str, seed: int, *place: int | str) -> None:
        self._flips = mode == "bitFlips"
        self._log = math.log1p(-rate) if rate < 1 else -math.inf
        self._numbers = Numbers(seed, *place)
        self._left = self._distance()

    def _distance(self) -> float:
        if self._log == 0:  # rate 0: a distance without end
            return math.inf
        return math.floor(min(math.log1p(-self._numbers.next()) / self._log, _FAR))

    def first(self) -> None:
        """The next byte is hit in any case."""
        self._left = 0

    def apply(self, data: bytes) -> tuple[bytes, int]:
        """The next part of the stream with its damage, and how many bytes of it were changed."""
        size, position = len(data), self._left
        if position >= size:
            self._left = position - size
            return data, 0
        changed, count = bytearray(data), 0
        while position < size:
            chance = self._numbers.next()
            changed[int(position)] ^= 1 << int(chance * 8) if self._flips else 1 + int(chance * 255)
            count += 1
            position += 1 + self._distance()
        self._left = position - size
        return bytes(changed), count

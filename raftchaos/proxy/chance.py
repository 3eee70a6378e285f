"""Chance without a generator: keyed hashes of a seed and a position. And numbers among parameters, checked. Pure."""

from __future__ import annotations

import hashlib
import math
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


_FAR = 1e18  # bytes: farther than any stream reaches


class Hits:
    """Which bytes of a stream are hit, each with the same chance: the distances from one hit to the next are drawn."""

    __slots__ = ("_drawn", "_left", "_log", "_place", "_seed")

    def __init__(self, rate: float, seed: int, *place: int | str) -> None:
        self._seed = seed
        self._place = place
        self._drawn = 0
        self._log = math.log1p(-rate) if rate < 1 else -math.inf  # rate 0: a distance without end
        self._left = self._distance()

    def _distance(self) -> float:
        if self._log == 0:
            return math.inf
        self._drawn += 1
        chance = draw(self._seed, *self._place, "distance", self._drawn)
        return math.floor(min(math.log1p(-chance) / self._log, _FAR))

    def within(self, size: int) -> list[int]:
        """The offsets that are hit among the next `size` bytes."""
        found: list[int] = []
        position = self._left
        while position < size:
            found.append(int(position))
            position += 1 + self._distance()
        self._left = position - size
        return found


def damage(data: bytes, offsets: list[int], mode: str, seed: int, *place: int | str) -> bytes:
    """The data with these bytes changed, each surely: a bit of it turned (`bitFlips`), or any other byte."""
    if not offsets:
        return data
    changed = bytearray(data)
    for index, offset in enumerate(offsets):
        chance = draw(seed, *place, "damage", index)
        changed[offset] ^= 1 << int(chance * 8) if mode == "bitFlips" else 1 + int(chance * 255)
    return bytes(changed)

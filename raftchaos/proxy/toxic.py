"""What a fault is to the data plane: one `Fault` a run and proxy, one `Toxic` for each connection that it touches.

Both are told what happens and say what shall happen; they have no clock, no socket and no random generator. `now` and
all other instants are CLOCK_BOOTTIME seconds. Chance is a keyed hash of the run's seed and of the position of the
connection (and of the request or burst on it) since the fault began, so that the same seed touches the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos.proxy.delayline import NEVER
from raftchaos.proxy.messages import Answered, Exchange


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


class Effect:
    """What a fault did, counted where it happened. `touched` is there for every fault: what it really changed."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, float] = {"touched": 0}

    def add(self, name: str, amount: float = 1) -> None:
        """Count `amount` more of `name`."""
        self._counts[name] = self._counts.get(name, 0) + amount

    def report(self) -> dict[str, int]:
        """All counts, rounded to whole numbers."""
        return {name: round(amount) for name, amount in self._counts.items()}


class Toxic(Answered):
    """One fault on one connection. Subclasses override what they need; every hook does nothing here."""

    __slots__ = ("wake_at",)

    shapes: ClassVar[bool] = False
    """It has a `shape`."""
    http: ClassVar[bool] = False
    """It acts on HTTP requests."""

    def __init__(self) -> None:
        self.wake_at = NEVER
        """When it wants `wake` to be called."""

    def request(self, exchange: Exchange) -> bytes | None:
        """A request has arrived, its head complete; what to answer in place of the service, or None."""
        return None

    def not_http(self) -> None:
        """The connection carries no HTTP/1.1 (any more), so that an `http` toxic cannot touch it."""

    def shape(
        self, direction: int, exchange: Exchange | None, chunks: list[tuple[float, bytes]]
    ) -> list[tuple[float, bytes]]:
        """When and what to send: bytes with the instant at which they may go, in order, instants never falling.

        `exchange` is what the bytes belong to; None if the connection is not HTTP.
        """
        return chunks

    def wake(self, now: float) -> bool:
        """`wake_at` has come (it must be set anew). True: the connection is reset."""
        return False


class Fault:
    """One run on one proxy."""

    type: ClassVar[str]

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        """Raises ParameterError. Parameters that the fault does not know are ignored: they were validated before."""
        self.seed = seed
        self.effect = Effect()
        self._connections = 0
        self.probability = number(parameters, "probability", 1.0, 0.0, 1.0)

    def attach(self, now: float) -> Toxic | None:
        """What it does to one more connection, the oldest first; None if it does not touch it."""
        position = self._connections
        self._connections += 1
        return self.toxic(position, now)

    def toxic(self, position: int, now: float) -> Toxic | None:
        """The toxic of the connection that is number `position` since the fault began."""
        raise NotImplementedError

    def hits(self, *position: int | str) -> bool:
        """Whether chance picks this position; never with probability 0."""
        return self.probability > 0 and draw(self.seed, *position) < self.probability

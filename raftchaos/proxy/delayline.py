"""Bytes that wait for their instant, in order."""

from __future__ import annotations

from collections import deque
from typing import Final

from raftchaos import limits
from raftchaos.proxy.messages import Exchange

NEVER: Final = float("inf")


class Budget:
    """Bytes that all connections of the process hold for faults."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0


class DelayLine:
    """What waits in one direction of one connection. Nothing overtakes, whatever instants are asked for."""

    __slots__ = ("_budget", "_newest", "chunks", "held")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.chunks: deque[tuple[float, bytes, Exchange | None]] = deque()
        """What waits, oldest first, each with its instant and what it belongs to; empty: nothing does."""
        self._newest = 0.0
        self.held = 0

    def push(self, at: float, data: bytes, exchange: Exchange | None = None) -> None:
        """Hold `data` until `at`, or until what came before it goes, if that is later."""
        self._newest = max(self._newest, at)
        self.chunks.append((self._newest, data, exchange))
        self._hold(len(data))

    def due(self, now: float) -> list[tuple[float, bytes, Exchange | None]]:
        """Take out what may go by now."""
        ready = []
        size = 0
        while self.chunks and self.chunks[0][0] <= now:
            chunk = self.chunks.popleft()
            size += len(chunk[1])
            ready.append(chunk)
        self._hold(-size)
        return ready

    def flush(self) -> list[tuple[float, bytes, Exchange | None]]:
        """Take out everything."""
        self._newest = 0.0
        return self.due(NEVER)

    def next(self) -> float:
        """When the oldest may go; NEVER if nothing waits."""
        return self.chunks[0][0] if self.chunks else NEVER

    def full(self, window: int) -> bool:
        """Whether reading should pause: more than `window` waits, or with all other connections too much does."""
        if self.held <= min(window, limits.PROXY_BUFFER):
            return False
        return self.held > window or self._budget.held > limits.PROXY_DELAYED_TOTAL

    def _hold(self, amount: int) -> None:
        self.held += amount
        self._budget.held += amount

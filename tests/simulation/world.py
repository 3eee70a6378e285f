"""The one true time of a simulation: a queue of events, chance by name, and what everybody may note down.

Nothing here knows peers. A violation does not raise where it is found (that would run through the code under test); it
is noted, and the world stops before the next event.
"""

from __future__ import annotations

import heapq
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

BUSY_EVENTS = 100_000
BUSY_SECONDS = 1.0
"""So many events in less than this: somebody turns in circles. Five peers under load make 3 000 a second."""


class World:
    """One simulation. Times are seconds since it began."""

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        self.now = 0.0
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.digest = 0
        """Of every event and every byte that was delivered: equal digests are equal simulations."""
        self.events = 0
        self._queue: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._counter = 0
        self._looked_at = 0.0

    def chance(self, name: str) -> random.Random:
        """A source of chance of its own, so that one part's draws do not shift another's."""
        return random.Random(f"{self.seed}/{name}")

    def at(self, delay: float, action: Callable[..., Any], *arguments: Any) -> None:
        """Do this in so many true seconds."""
        self._counter += 1
        heapq.heappush(self._queue, (self.now + max(delay, 0.0), self._counter, action, arguments))

    def run(self, until: float, condition: Callable[[], bool] | None = None) -> bool:
        """Let time pass until then, until the condition holds or until something is violated. True if it holds."""
        while not self.violations:
            if condition is not None and condition():
                return True
            if not self._queue or self._queue[0][0] > until:
                self.now = max(self.now, until)
                return condition is not None and condition()
            self.now, _, action, arguments = heapq.heappop(self._queue)
            self.events += 1
            if self.events % BUSY_EVENTS == 0:
                self._look_for_a_livelock()
            self.stir(struct.pack("<d", self.now))
            action(*arguments)
        return False

    def _look_for_a_livelock(self) -> None:
        if self.now - self._looked_at < BUSY_SECONDS:
            self.violated("LIVELOCK", f"{BUSY_EVENTS} events in {self.now - self._looked_at:.4f} s")
        self._looked_at = self.now

    def stir(self, data: bytes | memoryview) -> None:
        """Let the digest depend on these bytes."""
        self.digest = zlib.crc32(data, self.digest)

    def note(self, who: str, text: str) -> None:
        """A line of the trace."""
        line = f"{self.now:8.3f}  {who:<4} {text}"
        self.trace.append(line)
        self.stir(line.encode())

    def violated(self, rule: str, text: str) -> None:
        """Something happened that must not."""
        self.note("!!!", f"{rule}: {text}")
        self.violations.append(f"{rule} at {self.now:.3f}: {text}")

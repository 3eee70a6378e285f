"""The two clocks of a peer, injected everywhere so that a simulation can replace both.

Durations and leases use CLOCK_BOOTTIME: it never steps and counts the time that the machine was suspended.
Schedules and deadlines use the wall clock, and only the wall clock that the leader put into a command.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """What every part that measures time is given."""

    def boot(self) -> float:
        """Seconds since this machine started, suspends included. Comparable only on the same machine."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC. May step."""


class SystemClock:
    """The clocks of this machine."""

    boot = staticmethod(partial(time.clock_gettime, time.CLOCK_BOOTTIME))  # without a frame: asked for each read
    wall = staticmethod(time.time)

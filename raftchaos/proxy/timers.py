"""Wakes at instants of CLOCK_BOOTTIME, to the tenth of a millisecond: one timer of the kernel for all connections.

The timers of the loop count whole milliseconds, and cost more for each connection than all else that a delay does.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import itertools
import logging
import os
from collections.abc import Callable

from raftchaos import limits

log = logging.getLogger("raftchaos.proxy")
_BOOTTIME = 7
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1
_NEVER = float("inf")


class _Spec(ctypes.Structure):
    """struct itimerspec: an interval, which we do not use, and an instant."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class Entry:
    """One wake that was asked for."""

    __slots__ = ("at", "wake")

    def __init__(self, at: float, wake: Callable[[], None] | None) -> None:
        self.at = at
        self.wake = wake


class Timers:
    """The wakes of all connections of a process."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now`: seconds of CLOCK_BOOTTIME. Raises OSError without a running loop or a free file descriptor."""
        self._now = now
        self._entries: list[tuple[float, int, Entry]] = []  # a heap; the number decides between equal instants
        self._stale = 0
        self._numbers = itertools.count()
        self._armed = _NEVER
        self._spec = _Spec()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_BOOTTIME, _FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "the kernel has no timer for us")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._fire)

    def set(self, at: float, wake: Callable[[], None]) -> Entry:
        """Call `wake` at this instant, or a little later. What is returned may be cancelled."""
        entry = Entry(at, wake)
        heapq.heappush(self._entries, (at, next(self._numbers), entry))
        if at < self._armed:
            self._arm(at)
        return entry

    def cancel(self, entry: Entry) -> None:
        """Do not call it. Idempotent."""
        if entry.wake is None:
            return
        entry.wake = None
        self._stale += 1
        if self._stale > limits.PROXY_STALE_TIMERS and self._stale > len(self._entries) // 2:
            self._entries = [kept for kept in self._entries if kept[2].wake is not None]
            heapq.heapify(self._entries)
            self._stale = 0

    def close(self) -> None:
        """End."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._entries.clear()

    def _arm(self, at: float) -> None:
        self._armed = at
        self._spec.seconds = int(at)
        self._spec.nanoseconds = max(1, int((at - int(at)) * 1e9))
        self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(self._spec), None)

    def _fire(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # armed anew since
        self._armed = _NEVER
        now = self._now()
        due: list[Entry] = []
        while self._entries and self._entries[0][0] <= now:
            due.append(heapq.heappop(self._entries)[2])
        for entry in due:
            wake, entry.wake = entry.wake, None
            if wake is None:
                self._stale -= 1
                continue
            try:
                wake()
            except Exception:  # of one connection; the others are woken all the same
                log.exception("a connection could not be woken")
        if self._entries and self._entries[0][0] < self._armed:
            self._arm(self._entries[0][0])

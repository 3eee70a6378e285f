"""Ticks Raft when something happened or when a timer is due; never polls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from raftchaos.consensus.raft import Raft
from raftchaos.consensus.seams import now
from raftchaos.errors import DataCorrupt, MachineUnusable

logger = logging.getLogger(__name__)


class Scheduler(Protocol):
    """The part of an event loop that the driver needs; a simulation brings its own."""

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Run the callback after what runs now."""

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Any:
        """Run the callback in `delay` seconds; returns a handle that can be cancelled."""


class Driver:
    """Turns many messages and proposals into one tick.

    An exception in a tick (the disk is full, an invariant is broken, the state machine raised) ends this replica: it
    stops for good and reports through `failed`, because it can keep no further promise.
    """

    def __init__(self, scheduler: Scheduler, failed: Callable[[BaseException], None]) -> None:
        self.raft: Raft | None = None
        self.ticks = 0
        self._scheduler, self._failed = scheduler, failed
        self._scheduled = False
        self._timer: Any = None
        self._timer_at = 0.0
        self._tasks: set[asyncio.Future[None]] = set()

    def start(self, raft: Raft) -> None:
        """Begin to tick."""
        self.raft = raft
        self.wake()

    def stop(self) -> None:
        """No tick begins after this."""
        self.raft = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def drain(self) -> None:
        """Wait for work that is still done aside."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Tick soon, once."""
        if not self._scheduled and self.raft is not None:
            self._scheduled = True
            self._scheduler.call_soon(self._tick)

    def _tick(self) -> None:
        self._scheduled = False
        if self.raft is None:
            return
        self.ticks += 1
        try:
            self.raft.doTick(0)
            at = self.raft.next_tick_at()
        except Exception as error:  # noqa: BLE001 - whatever it is, this replica is over, and says so
            self.fail(error)
            return
        present = now()
        if self._timer is None or at < self._timer_at or self._timer_at <= present:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._scheduler.call_later(max(0.0, at - present) + 0.0002, self._due)

    def _due(self) -> None:
        self._timer = None
        self.wake()

    def fail(self, error: BaseException) -> None:
        """This replica cannot go on."""
        if self.raft is not None:
            self.stop()
            # The disk, what is not to be believed and what a later release wrote are told in words; of anything else a
            # report needs where it was.
            told = isinstance(error, OSError | DataCorrupt | MachineUnusable)
            logger.critical("the replica stops: %s", error, exc_info=None if told else error)
            self._failed(error)

    def offload(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        """Run `work` in a thread, then `done` on the loop."""

        def finished(future: asyncio.Future[None]) -> None:
            self._tasks.discard(future)
            if future.cancelled() or self.raft is None:
                return
            try:
                done(future.exception())
            except Exception as error:  # noqa: BLE001 - as in a tick
                self.fail(error)
            self.wake()

        future = asyncio.get_running_loop().run_in_executor(None, work)
        self._tasks.add(future)
        future.add_done_callback(finished)

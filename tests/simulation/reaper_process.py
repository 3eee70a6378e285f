"""The reaper of a simulated machine: the product's decisions, on a simulated clock, and main's hand on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftchaos import limits
from raftchaos.faults.reaper import _RETRY_FIRST, Reaper
from raftchaos.faults.undo import UndoJournal
from raftchaos.faults.undo_plan import Undoer
from tests.simulation.seams import use_clock

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.peer import PeerProcess

LOCK_POLL = 0.01
UNDO_POLL = 0.02


class WatchedMain:
    """What the reaper knows of main; implements what it uses of `faults.watching.Watched`."""

    pid = 0
    start = 0
    fd = -1

    def __init__(self, machine: Machine, main: PeerProcess | None) -> None:
        self.process = main
        self._machine = machine

    def alive(self) -> bool:
        return self.process is not None and not self.process.dead

    def kill(self) -> None:
        if self.process is not None and not self.process.dead:
            self._machine.world.note(self._machine.name, "the reaper kills main, which holds the undo journal")
            self._machine.kill_main(self.process)


class ReaperProcess(Reaper):
    """Decides as the product does. Only waiting is different: nothing may block the one thread of a simulation, so a
    lock that is held is looked at again a moment later."""

    def __init__(self, machine: Machine, main: PeerProcess | None, lease_end: float) -> None:
        self.machine = machine
        self.frozen = False
        self.dead = False
        self._main = WatchedMain(machine, main)  # type: ignore[assignment]
        self._lease_end = lease_end
        self._journal = UndoJournal(machine.folder)
        self._undoer = Undoer(self._journal, "reaper")
        self._lapsed = False
        self._overdue: set[str] = set()
        self._problems: dict[str, str] = {}
        self._retry_at = 0.0
        self._retry_wait = _RETRY_FIRST
        self._leaving = False
        self._main_fd = -1
        self._blocked_since: float | None = None
        self._reap_at: float | None = None
        machine.world.at(machine.chance.uniform(0.01, 0.05), self._tick)

    @property
    def runs(self) -> bool:
        """It looks at things."""
        return not self.dead and not self.frozen and not self.machine.off

    @property
    def watched(self) -> PeerProcess | None:
        """The main that it belongs to."""
        return self._main.process  # type: ignore[attr-defined,no-any-return]

    @property
    def lease_end(self) -> float:
        """The end of the lease that it knows."""
        return self._lease_end

    def _tick(self) -> None:
        if self.dead:
            return
        pause = 0.05
        if self.runs:
            use_clock(self.machine.boot)
            self._look()
            if self._leaving:
                self.end()
                return
            pause = max(self._patience(), 0.002)
            if self._blocked_since is not None:
                pause = LOCK_POLL
            elif self._reap_at is not None:
                pause = UNDO_POLL
        self.machine.world.at(pause * self.machine.chance.uniform(1.0, 1.2), self._tick)

    def _reap(self, *, everything: bool) -> None:
        """Undoing takes time: here all of it passes before the first step."""
        now = self.machine.boot()
        if self._reap_at is None:
            busy = self._open()
            self._reap_at = now + (self.machine.chance.uniform(0.0, self.machine.slowest_undo) if busy else 0.0)
        if now < self._reap_at:
            self._retry_at = now
            return
        self._reap_at = None
        super()._reap(everything=everything)

    def _take_lock(self) -> bool:
        if self._journal.try_lock():
            self._blocked_since = None
            return True
        now = self.machine.boot()
        if self._blocked_since is None:
            self._blocked_since = now
        if now - self._blocked_since >= limits.REAPER_LOCK_WAIT:
            self._main.kill()
            if self._journal.try_lock():
                self._blocked_since = None
                return True
        return False

    def _later(self, left: dict[str, str]) -> None:
        super()._later(left)
        if self._blocked_since is not None:  # the product waits for the lock; here it is looked at again
            self._retry_at, self._retry_wait = self.machine.boot(), _RETRY_FIRST

    def tell(self, end: float) -> bool:
        """Main tells a later end; whether it was taken."""
        use_clock(self.machine.boot)
        return bool(self._take_lease(end).get("ok"))

    def retire(self) -> bool:
        """A new main sends the reaper of an old one away; whether it goes."""
        if not self._main.alive():
            self._leaving = True
        return self._leaving

    def end(self) -> None:
        """It is gone; its locks are free."""
        if not self.dead:
            self.dead = True
            self._journal.close()
            self.machine.reaper_gone(self)


class ReaperLink:
    """Main's side for one life of main: keeps a reaper standing; implements `faults.executor.ReaperState`."""

    def __init__(self, machine: Machine, main: PeerProcess) -> None:
        self._machine, self._main = machine, main
        self._present: ReaperProcess | None = None
        self._wanted_end = 0.0
        self._known_end = 0.0
        self._told = asyncio.Event()

    @property
    def standing(self) -> bool:
        """A reaper of this main stands."""
        return self._present is not None and not self._present.dead

    @property
    def lease_end(self) -> float:
        """What that reaper has confirmed to know."""
        return self._known_end if self.standing else 0.0

    def on_renewed(self, end: float, epoch: int) -> None:
        """The lease keeper's listener."""
        self._wanted_end = max(self._wanted_end, end)
        self._told.set()

    def on_lapsed(self, epoch: int) -> None:
        """The reaper knows by itself."""

    async def run(self, on_change: Callable[[], None]) -> None:
        """Keep one standing and tell it the lease."""
        while True:
            if not self.standing:
                self._known_end = 0.0
                on_change()
                await self._find_or_start()
                on_change()
            elif self._wanted_end > self._known_end:
                await self._tell(on_change)
            else:
                self._told.clear()
                await self._pause(0.05)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._told.wait()
        except TimeoutError:
            return

    async def _find_or_start(self) -> None:
        await self._machine.wait(0.02, 0.15)
        reaper = self._machine.reaper
        if reaper is None:
            reaper = self._machine.start_reaper(self._wanted_end)
        if reaper.watched is self._main:
            self._present, self._known_end = reaper, reaper.lease_end
        elif reaper.runs and reaper.retire():
            await self._machine.wait(0.02, 0.1)
            reaper.end()
        elif not reaper.runs:
            reaper.end()  # it does not answer: main kills it

    async def _tell(self, on_change: Callable[[], None]) -> None:
        reaper, end = self._present, self._wanted_end
        assert reaper is not None
        await self._machine.wait(0.0002, 0.005)
        if not reaper.runs:
            await asyncio.sleep(2.0)  # it does not answer: it is killed, and another one started
            if not reaper.runs:
                reaper.end()
            return
        if reaper.tell(end):
            renewed = self._known_end <= self._machine.boot()
            self._known_end = reaper.lease_end
            if renewed:
                on_change()
        else:
            await asyncio.sleep(0.1)

"""The fault process_kill: sends a signal to processes. Its parameters stand in `model.faults.process_kill`."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final

from raftchaos.errors import InjectionFailed, NotFound
from raftchaos.faults.base import CatalogueFault, Host, NodeContext
from raftchaos.faults.processes import selecting
from raftchaos.faults.processes.proc import Handle, Process, process
from raftchaos.faults.records import Step
from raftchaos.model.faults.process_kill import FAULT, ProcessKillParameters

ONE: Final = "process"
"""Targets `process:<pid>`: this process and no other."""
MANY: Final = "processes"
"""Targets `processes:<selection>`: whatever fulfils it at the moment. What is killed again and again comes back under
another number, and of how many one is drawn is not known before."""


class ProcessKill(CatalogueFault[ProcessKillParameters]):
    """One-shot: nothing is taken back."""

    def __init__(self, host: Host) -> None:
        super().__init__(FAULT, ProcessKillParameters, host)
        self._starts: dict[tuple[str, str], int] = {}
        self._beats: dict[str, int] = {}
        self._signalled: dict[tuple[str, str], int] = {}

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """Each process, or the selection as a whole where it is looked up anew each time."""
        wanted = self.read(parameters)
        found = self._find(wanted)
        if wanted.every is not None or wanted.count is not None:
            return (selecting.target(MANY, wanted.text()),)
        return tuple(sorted(selecting.target(ONE, str(each.pid)) for each in found))

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """None. From here on the target is the process that has the number now."""
        kind, _, pid = target.partition(":")
        found = process(int(pid)) if kind == ONE else None
        self._starts[key, target] = 0 if found is None else found.start
        return []

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Send the signal. A process that has gone meanwhile is not touched, and not counted."""
        wanted = self.read(parameters)
        number = signal.Signals[wanted.signal]
        victims = await asyncio.to_thread(self._victims, key, target, wanted, seed)
        self._signalled[key, target] = sum(_send(each, number) for each in victims)

    def _victims(self, key: str, target: str, wanted: ProcessKillParameters, seed: int) -> Sequence[Process]:
        if target.startswith(f"{ONE}:"):
            found = process(int(target.partition(":")[2]))
            return [found] if found is not None and found.start == self._starts.get((key, target)) else []
        beat = self._beats[key] = self._beats.get(key, 0) + 1
        try:
            everyone = self._find(wanted)
        except NotFound:  # it is being started again: the next time finds it
            return []
        count = len(everyone) if wanted.count is None else min(wanted.count, len(everyone))
        return random.Random(f"{seed}/{beat}").sample(everyone, count)

    def _find(self, wanted: ProcessKillParameters) -> list[Process]:
        return selecting.permitted(selecting.select(wanted, self._host.own_pids()))

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Only tells how many processes took the signal."""
        count = self._signalled.get((key, target), 0)
        return {"signalled": count, "touched": count}

    async def effects(self, key: str, target: str) -> dict[str, int]:
        """The same as at the end."""
        return await self.recover(key, target)

    async def forget(self, key: str, target: str) -> None:
        """Drop what is kept of one use."""
        self._starts.pop((key, target), None)
        self._signalled.pop((key, target), None)
        self._beats.pop(key, None)


def _send(victim: Process, number: int) -> int:
    with Handle(victim.pid, victim.start) as handle:
        try:
            return int(handle.send(number))
        except PermissionError:
            raise InjectionFailed(
                f"process {victim} may not be signalled: the peer lacks the capability CAP_KILL",
                hint="start the peer as root, or with AmbientCapabilities=CAP_KILL in its systemd unit",
            ) from None


def make(host: Host) -> ProcessKill:
    """The fault."""
    return ProcessKill(host)

"""The fault process_pause: processes stand still. Its parameters stand in `model.faults.process_pause`."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from raftchaos.errors import InjectionFailed, RecoveryFailed, Refused
from raftchaos.faults.base import CatalogueFault, Host, NodeContext
from raftchaos.faults.processes import selecting, undo
from raftchaos.faults.processes.proc import Handle, process
from raftchaos.faults.records import Step
from raftchaos.faults.undo_plan import StepFailed
from raftchaos.model.faults.process_pause import FAULT, ProcessPauseParameters

_STOPS_WITHIN: Final = 0.5
"""Seconds until a process that was sent SIGSTOP stands: its threads finish what they do in the kernel."""
_LOOK: Final = 0.01


@dataclass(slots=True)
class _Pause:
    """One use on one process."""

    pid: int
    start: int
    since: float = 0.0
    """Of the monotonic clock; 0 while it is not known to stand."""
    effect: dict[str, int] | None = None


class ProcessPause(CatalogueFault[ProcessPauseParameters]):
    """SIGSTOP, and SIGCONT afterwards. Targets are `process:<pid>`."""

    def __init__(self, host: Host) -> None:
        super().__init__(FAULT, ProcessPauseParameters, host)
        self._pauses: dict[tuple[str, str], _Pause] = {}

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """Each process. One that stands already is refused: afterwards it would run, and did not before."""
        found = selecting.permitted(selecting.select(self.read(parameters), self._host.own_pids()))
        ours = {(pause.pid, pause.start) for pause in self._pauses.values() if pause.since}
        still = [each for each in found if each.stopped and (each.pid, each.start) not in ours]
        if still:
            raise Refused(f"process {still[0]} stands still already", hint="continue it first: kill -CONT")
        return tuple(sorted(f"process:{each.pid}" for each in found))

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """SIGCONT to the process that has the number now, and to no later one."""
        pid = int(target.partition(":")[2])
        found = process(pid)
        pause = self._pauses[key, target] = _Pause(pid, 0 if found is None else found.start)
        return [{"do": "processes.resume", "pid": pause.pid, "start": pause.start}]

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Stop it, and see it stand. One that is gone is not touched, and not counted."""
        pause = self._pauses[key, target]
        pause.effect = {"touched": 0}
        with Handle(pause.pid, pause.start) as handle:
            try:
                if not handle.send(signal.SIGSTOP):
                    return
            except PermissionError:
                raise InjectionFailed(
                    f"process {pause.pid} may not be stopped: the peer lacks the capability CAP_KILL"
                ) from None
            until = time.monotonic() + _STOPS_WITHIN
            while (found := handle.look()) is not None and not found.stopped:
                if time.monotonic() > until:
                    raise InjectionFailed(f"process {found} does not stand {_STOPS_WITHIN} s after SIGSTOP")
                await asyncio.sleep(_LOOK)
        if found is not None:
            pause.since = time.monotonic()
            pause.effect = {"signalled": 1, "touched": 1}

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Let it go on. Returns whether it stood, and for how many milliseconds."""
        pause = self._pauses.get((key, target))
        if pause is None:
            return {"touched": 0}
        try:
            undo.resume({"pid": pause.pid, "start": pause.start})
        except StepFailed as error:
            raise RecoveryFailed(str(error)) from None
        effect = self._so_far(pause)
        pause.since, pause.effect = 0.0, effect
        return effect

    async def effects(self, key: str, target: str) -> dict[str, int]:
        """Whether it stands, and for how long."""
        pause = self._pauses.get((key, target))
        return {"touched": 0} if pause is None else self._so_far(pause)

    async def forget(self, key: str, target: str) -> None:
        """Drop what is kept of one use."""
        self._pauses.pop((key, target), None)

    async def observe(self) -> list[tuple[str, str]] | None:
        """The processes of ours that stand, as /proc shows them."""
        on = []
        for (key, target), pause in self._pauses.items():
            found = process(pause.pid)
            if pause.since and found is not None and found.start == pause.start and found.stopped:
                on.append((key, target))
        return on

    def _so_far(self, pause: _Pause) -> dict[str, int]:
        effect = dict(pause.effect or {"touched": 0})
        if pause.since:
            effect["paused_ms"] = int((time.monotonic() - pause.since) * 1000)
        return effect


def make(host: Host) -> ProcessPause:
    """The fault."""
    return ProcessPause(host)

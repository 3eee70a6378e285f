"""The fault process_restart: a service is restarted. Its parameters stand in `model.faults.process_restart`.

Systemd is asked, or a command of the operator's is run; what was restarted is seen in the processes, not believed.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from raftchaos import limits
from raftchaos.errors import InjectionFailed, Refused
from raftchaos.faults import needs
from raftchaos.faults.base import CatalogueFault, Host, NodeContext
from raftchaos.faults.plugins import commands
from raftchaos.faults.processes import selecting, units
from raftchaos.faults.processes.proc import process
from raftchaos.faults.records import Step
from raftchaos.model.faults.process_restart import FAULT, ProcessRestartParameters

_SEEN_WITHIN: Final = 1.2
"""Seconds in which a restart that was asked for shows; what takes longer counts if it has begun by then."""
_LOOK: Final = 0.05


@dataclass(slots=True)
class _Restart:
    """One use: who ran before, and the command that changes it."""

    before: dict[int, int] = field(default_factory=dict)
    """Start of each process by its number."""
    command: subprocess.Popen[bytes] | None = None

    def ended(self) -> int:
        """How many of those that ran before have ended."""
        return sum(1 for pid, start in self.before.items() if not _runs(pid, start))


class ProcessRestart(CatalogueFault[ProcessRestartParameters]):
    """One-shot. Targets are `unit:<name>` and `command:<file name>`."""

    def __init__(self, host: Host) -> None:
        super().__init__(FAULT, ProcessRestartParameters, host)
        self._restarts: dict[tuple[str, str], _Restart] = {}

    def why_not(self) -> str:
        """It needs systemd, or a folder of commands that the operator allows."""
        systemd = needs.why_not(["systemd"])
        return f"{systemd}; and the peer has no folder of plug-ins with commands" if self._no_commands(systemd) else ""

    def _no_commands(self, systemd: str) -> bool:
        return bool(systemd) and self._host.plugins is None

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The unit or the command. Whether it is there, and is not the peer's own, is looked at."""
        wanted = self.read(parameters)
        self._processes(wanted)
        if wanted.unit is not None:
            return (selecting.target("unit", wanted.unit),)
        return (selecting.target("command", self._program(wanted).name),)

    def _processes(self, wanted: ProcessRestartParameters) -> dict[int, int]:
        """What runs now and is to be restarted: start by number."""
        if wanted.unit is None:
            found = selecting.select(wanted, self._host.own_pids())
            return {each.pid: each.start for each in found}
        lacking = needs.why_not(["systemd"])
        if lacking:
            raise Refused(f"the unit {wanted.unit} cannot be restarted: {lacking}")
        return units.processes_of(wanted.unit, self._host.own_pids())

    def _program(self, wanted: ProcessRestartParameters) -> Path:
        assert wanted.command is not None
        return commands.program(self._host.plugins, wanted.command[0])

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """None: what was restarted runs."""
        return []

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Ask systemd, or run the command; a service that takes long to stop goes on stopping afterwards."""
        wanted = self.read(parameters)
        await self.forget(key, target)
        restart = self._restarts[key, target] = _Restart(await asyncio.to_thread(self._processes, wanted))
        if wanted.unit is not None:
            command = ["systemctl", "restart", "--no-block", "--", wanted.unit]
        else:
            assert wanted.command is not None
            command = [os.fspath(self._program(wanted)), *wanted.command[1:]]
        restart.command = self._start(command)
        code = await self._wait(restart, until_seen=False)
        if code:
            raise InjectionFailed(f"the restart ended with exit code {code}", hint="try the command by hand")

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        """In a session of its own: it is not broken off amid a restart when the peer is."""
        try:
            return subprocess.Popen(
                ["timeout", "--kill-after=5", f"{limits.RESTART_COMMAND:g}", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise InjectionFailed(f"{command[0]} does not run: {error}") from None

    async def _wait(self, restart: _Restart, *, until_seen: bool) -> int | None:
        """Until the command has ended, and with `until_seen` also all that ran before; no longer than it takes to show.
        Returns the command's exit code, None while it runs."""
        assert restart.command is not None
        loop = asyncio.get_running_loop()
        end = loop.time() + _SEEN_WITHIN
        while loop.time() < end:
            code = restart.command.poll()
            if code or (code == 0 and (not until_seen or restart.ended() == len(restart.before))):
                break
            await asyncio.sleep(_LOOK)
        return restart.command.poll()

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Nothing is taken back: tells how many of the processes that ran before have ended."""
        restart = self._restarts.get((key, target))
        if restart is None or restart.command is None:
            return {"touched": 0}
        await self._wait(restart, until_seen=True)
        count = restart.ended()
        return {"restarted": count, "touched": count}

    async def effects(self, key: str, target: str) -> dict[str, int]:
        """How many have ended so far."""
        restart = self._restarts.get((key, target))
        count = 0 if restart is None else restart.ended()
        return {"restarted": count, "touched": count}

    async def forget(self, key: str, target: str) -> None:
        """Drop what is kept of one use. A command that still runs ends by itself, at its limit at the latest."""
        restart = self._restarts.pop((key, target), None)
        if restart is not None and restart.command is not None and restart.command.poll() is None:
            _reap_at_its_end(restart.command)


def _reap_at_its_end(process: subprocess.Popen[bytes]) -> None:
    """Let the loop take note of its end, so that it is no zombie then."""
    loop = asyncio.get_running_loop()
    ended = os.pidfd_open(process.pid)

    def reap() -> None:
        loop.remove_reader(ended)
        os.close(ended)
        process.wait()

    loop.add_reader(ended, reap)


def _runs(pid: int, start: int) -> bool:
    found = process(pid)
    return found is not None and not found.gone and found.start == start


def make(host: Host) -> ProcessRestart:
    """The fault."""
    return ProcessRestart(host)

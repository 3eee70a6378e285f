"""The fault custom: runs an executable pair of the operator. Its parameters stand in `model.faults.custom`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raftchaos.errors import InjectionFailed, NotFound, RecoveryFailed, Refused
from raftchaos.faults import effects
from raftchaos.faults.base import CatalogueFault, Host, NodeContext
from raftchaos.faults.plugins import executables
from raftchaos.faults.records import Step
from raftchaos.faults.resources import marks
from raftchaos.faults.threads import blocking
from raftchaos.faults.undo_plan import StepFailed
from raftchaos.model.faults.custom import FAULT, CustomParameters

PREFIX = "plugin:"
_OUTPUT = 4096


class CustomFault(CatalogueFault[CustomParameters]):
    """A target is `plugin:<name>`: one use of a plug-in at a time on a node."""

    def __init__(self, host: Host) -> None:
        super().__init__(FAULT, CustomParameters, host)
        self._steps: dict[tuple[str, str], Step] = {}
        self._counted: dict[tuple[str, str], dict[str, int]] = {}

    def why_not(self) -> str:
        """Without a folder of plug-ins nothing is allowed."""
        if self._host.plugins is None:
            return "this peer allows no plug-ins (start it with --plugins DIR)"
        return "" if self._host.plugins.is_dir() else f"there is no folder {self._host.plugins} (see --plugins)"

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The plug-in, if this peer has it and nobody else can change it."""
        name = self.read(parameters).plugin
        folder = self._folder(name)
        known = executables.names(folder.parent)
        if name not in known:
            raise NotFound(
                f"the node {node.name} has no plug-in {name}; it has: {', '.join(known) or 'none'}",
                hint="the operator of the peer puts its executables inject and recover there",
            )
        for part in executables.PAIR:
            problem = executables.problem_of(folder / part)
            if problem:
                raise Refused(f"the plug-in {name} is not run: {problem}", hint="mend its owner and permissions")
        return (PREFIX + name,)

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """One step that runs `recover`, which the reaper can do too, with the parameters of the use."""
        folder, token = str(self._folder(target.removeprefix(PREFIX))), marks.token_of(key, target)
        step = {"do": "plugins.recover", "folder": folder, "key": key, "target": target, "token": token}
        return [{**step, "parameters": {}}]

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Run `inject` and wait for its end. What it leaves running bears a mark and is ended with the fault."""
        step = {**self.undo_steps(key, target)[0], "parameters": dict(parameters)}
        self._steps[key, target], self._counted[key, target] = step, {"touched": 0}
        path = Path(step["folder"]) / "inject"
        told = executables.environment(step, seed=seed, lease_end=repr(lease_end))
        try:
            process = await asyncio.create_subprocess_exec(
                str(path),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=path.parent,
                env={**told, marks.MARK: step["token"]},
                start_new_session=True,
            )
        except OSError as error:
            raise InjectionFailed(f"{path} cannot be started: {error.strerror}") from None
        said = await _until_ended(process)
        if process.returncode != 0:
            raise InjectionFailed(f"{path} ended with exit code {process.returncode}: {said or 'it said nothing'}")

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Run `recover`, as the reaper would."""
        step = self._steps.get((key, target))
        if step is None:
            return {"touched": 0}
        try:
            await blocking(self._run_recover, (key, target), step)
        except StepFailed as error:
            raise RecoveryFailed(str(error)) from None
        return dict(self._counted[key, target])

    def _run_recover(self, use: tuple[str, str], step: Step) -> None:
        """What it has counted is kept, also if what waits for it is cancelled and it is run again."""
        effects.add(self._counted[use], executables.recover(step))

    async def forget(self, key: str, target: str) -> None:
        """Nothing is needed of it any more."""
        self._steps.pop((key, target), None)
        self._counted.pop((key, target), None)

    def _folder(self, name: str) -> Path:
        assert self._host.plugins is not None
        return self._host.plugins / name


async def _until_ended(process: asyncio.subprocess.Process) -> str:
    """The last line that a process has said. Given up (a halt, too long), its whole session is killed.

    What it leaves running may hold its output open: its own end counts, not that of its output.
    """
    assert process.stdout is not None
    said = bytearray()
    reading = asyncio.ensure_future(_keep_end(process.stdout, said))
    try:
        await process.wait()
        await asyncio.wait([reading], timeout=0.05)
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    lines = bytes(said).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


async def _keep_end(stream: asyncio.StreamReader, said: bytearray) -> None:
    while data := await stream.read(_OUTPUT):
        said += data
        del said[:-_OUTPUT]


def make(host: Host) -> CustomFault:
    """The fault, with the plug-ins that this peer allows."""
    return CustomFault(host)

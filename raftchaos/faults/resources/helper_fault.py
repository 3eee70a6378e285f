"""A fault that a helper process bears: main starts it, tells it the end of the lease, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from raftchaos import limits
from raftchaos.errors import InjectionFailed, RecoveryFailed
from raftchaos.faults.base import CatalogueFault, Host, Lost
from raftchaos.faults.records import Step
from raftchaos.faults.resources import counts, groups, marks, undo
from raftchaos.faults.threads import blocking
from raftchaos.faults.undo_plan import StepFailed
from raftchaos.model.faults import FaultType
from raftchaos.model.faults.base import Parameters

P = TypeVar("P", bound=Parameters)
_LOOK: Final = 0.02
_COMMAND: Final = [sys.executable, "-m", "raftchaos.faults.resources.helper"]


@dataclass(slots=True)
class _Load:
    """One use of the fault."""

    step: Step
    """What ends it."""
    process: subprocess.Popen[bytes] | None = None
    effect: dict[str, int] | None = None
    """What it did, once it is over."""

    @property
    def folder(self) -> Path:
        """Where it counts."""
        return Path(self.step["folder"])

    def end(self) -> None:
        """End it and keep what it did, also if what waits for that is cancelled. Raises `StepFailed`."""
        self.effect = {"touched": 0, **undo.end(self.step)}


class HelperFault(CatalogueFault[P], Generic[P]):
    """Subclasses say the targets, what the helper is told, and which files it makes."""

    holds_deadline = True

    def __init__(self, catalogue: FaultType, parameters: type[P], host: Host) -> None:
        super().__init__(catalogue, parameters, host)
        self._loads: dict[tuple[str, str], _Load] = {}
        self._root = host.data_dir / "faults"

    @abstractmethod
    def order(self, wanted: P, target: str, files: list[str]) -> dict[str, Any]:
        """What the load of `resources.loads` is told; `files` are those that `files_of` named."""

    def files_of(self, target: str, token: str) -> list[str]:
        """Files and folders that the load makes, and the undo step removes."""
        return []

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """One step, by names that nothing has yet: what bears the mark is ended, what it has made is removed."""
        token = marks.token_of(key, target)
        step = {
            "do": "resources.end",
            "token": token,
            "cgroup": groups.planned(token),
            "folder": str(self._root / token),
            "files": self.files_of(target, token),
        }
        self._loads[key, target] = _Load(step)
        return [step]

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Start the helper, and see it at work."""
        load = self._loads[key, target]
        load.effect = None
        try:
            order = self.order(self.read(parameters), target, list(load.step["files"]))
            load.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (load.folder / "what").write_text(json.dumps({"type": self.type, "key": key, "target": target}))
            groups.make(load.step["cgroup"])
            load.process = self._start(load, {"load": self.type, "parameters": order, "deadline": lease_end})
            await self._at_work(load)
        except OSError as error:
            raise InjectionFailed(f"the process that bears the load cannot be started: {error}") from None

    def _start(self, load: _Load, order: dict[str, Any]) -> subprocess.Popen[bytes]:
        """From the loop's own thread: the helper ends with the thread that started it. Raises OSError."""
        process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, marks.MARK: load.step["token"]},
            start_new_session=True,
        )
        more = {"parent": os.getpid(), "folder": load.step["folder"], "cgroup": load.step["cgroup"]}
        _tell(process, json.dumps({**order, **more}))
        return process

    async def _at_work(self, load: _Load) -> None:
        assert load.process is not None
        while not (found := counts.read(load.folder)).on:
            code = load.process.poll()
            if code is not None:
                problem = counts.read(load.folder).problem or f"it ended with exit code {code}"
                raise InjectionFailed(f"the process that bears the load could not begin: {problem}")
            if found.problem:
                raise InjectionFailed(f"the process that bears the load could not begin: {found.problem}")
            await asyncio.sleep(_LOOK)

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Let the helper end by itself, so that it counts to the end; then end whatever is left, and remove it."""
        load = self._loads.get((key, target))
        if load is None:
            return {"touched": 0}
        if load.effect is None:
            if load.process is not None:
                await _let_end(load.process)
            try:
                await blocking(load.end)
            except StepFailed as error:
                raise RecoveryFailed(str(error)) from None
        if load.process is not None:
            await asyncio.to_thread(load.process.wait)
            load.process = None
        assert load.effect is not None
        return load.effect

    def bears(self, key: str, target: str) -> bool:
        """Whether the helper of one use runs."""
        load = self._loads.get((key, target))
        return load is not None and load.effect is None and load.process is not None and load.process.poll() is None

    async def renew(self, lease_end: float) -> None:
        """Tell every helper."""
        for load in self._loads.values():
            if load.process is not None and load.effect is None:
                _tell(load.process, repr(lease_end))

    async def lost(self) -> Lost:
        """Loads whose helper has ended by itself or was killed."""
        return {
            use: counts.read(load.folder).problem or f"the process that bears the load ended with exit code {code}"
            for use, load in self._loads.items()
            if load.effect is None and load.process is not None and (code := load.process.poll()) is not None
        }

    async def effects(self, key: str, target: str) -> dict[str, int]:
        """What it counted up to a moment ago."""
        load = self._loads.get((key, target))
        if load is None:
            return {"touched": 0}
        return dict(load.effect) if load.effect is not None else dict(counts.read(load.folder).effect)

    async def forget(self, key: str, target: str) -> None:
        """Drop what is kept of one use."""
        self._loads.pop((key, target), None)

    async def observe(self) -> list[tuple[str, str]] | None:
        """Every load of this type of which a process runs or a file is there, also of an earlier start of the peer."""
        return await asyncio.to_thread(self._observe)

    def _observe(self) -> list[tuple[str, str]]:
        found = []
        for what in sorted(self._root.glob("*/what")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                said = json.loads(what.read_text())
                token, target = what.parent.name, str(said["target"])
                if said["type"] == self.type and (
                    marks.bearers(token) or any(os.path.exists(path) for path in self.files_of(target, token))
                ):
                    found.append((str(said["key"]), target))
        return found


async def _let_end(process: subprocess.Popen[bytes]) -> None:
    """Close its input, and give it a moment."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.HELPER_STOP
    while process.poll() is None and loop.time() < end:  # noqa: ASYNC110 - the end of a process is no event of the loop
        await asyncio.sleep(_LOOK)


def _tell(process: subprocess.Popen[bytes], line: str) -> None:
    """One line to a helper. One that is gone, or that reads nothing, ends by itself."""
    assert process.stdin is not None
    with contextlib.suppress(OSError, ValueError):
        os.set_blocking(process.stdin.fileno(), False)
        os.write(process.stdin.fileno(), line.encode() + b"\n")

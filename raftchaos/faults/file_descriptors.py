"""The fault file_descriptors: processes can open no more files, or the host's are held. Its parameters stand in
`model.faults.file_descriptors`.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from raftchaos.errors import InjectionFailed, RecoveryFailed, Refused
from raftchaos.faults.base import Host, NodeContext
from raftchaos.faults.processes import selecting
from raftchaos.faults.processes.proc import Handle, Process, process
from raftchaos.faults.records import Step
from raftchaos.faults.resources import marks, undo
from raftchaos.faults.resources.helper_fault import HelperFault
from raftchaos.faults.resources.loads.descriptors import most
from raftchaos.faults.undo_plan import StepFailed
from raftchaos.model.faults.file_descriptors import FAULT, FileDescriptorsParameters

_HOST: Final = "descriptors"


@dataclass(slots=True)
class _Limit:
    """One use on one process."""

    step: Step
    touched: int = 0


class FileDescriptors(HelperFault[FileDescriptorsParameters]):
    """Targets are `process:<pid>`, whose soft limit is lowered, and `descriptors`, which a helper holds."""

    def __init__(self, host: Host) -> None:
        super().__init__(FAULT, FileDescriptorsParameters, host)
        self._limited: dict[tuple[str, str], _Limit] = {}

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The processes, or the host. Refused where this peer may not change a limit, or cannot hold as many."""
        wanted = self.read(parameters)
        if wanted.count is not None:
            if wanted.count > most():
                raise Refused(
                    f"{wanted.count} descriptors are wanted, a process of this peer can hold {most()}",
                    hint="raise LimitNOFILE= of the peer's systemd unit",
                )
            return (_HOST,)
        found = selecting.select(wanted, self._host.own_pids())
        for each in found:
            _limits_of(each)
        return tuple(sorted(f"process:{each.pid}" for each in found))

    def order(self, wanted: FileDescriptorsParameters, target: str, files: list[str]) -> dict[str, Any]:
        """How many the helper holds."""
        return {"count": wanted.count}

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """The helper's end; of a process its soft limit as it is now, and the file in which `inject` notes the lowered
        one."""
        if target == _HOST:
            return super().undo_steps(key, target)
        pid = int(target.partition(":")[2])
        found = process(pid)
        lowered = str(self._root / f"{marks.token_of(key, target)}-limits")
        step: Step = {"do": "resources.restore_files", "pid": pid, "lowered": lowered}
        if found is None:
            step |= {"start": 0, "session": 0, "soft": 0}
        else:
            step |= {"start": found.start, "session": found.session, "soft": _limits_of(found)[0]}
        self._limited[key, target] = _Limit(step)
        return [step]

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Hold the files, or lower the limit to what is open now and what is left free. A process that is gone is not
        touched, and not counted."""
        limit = self._limited.get((key, target))
        if limit is None:
            await super().inject(key, target, parameters, seed, lease_end)
            return
        pid = limit.step["pid"]
        with Handle(pid, limit.step["start"]) as handle:
            if handle.look() is None:
                return
            try:
                soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                lower = limit_that_leaves(self.read(parameters).leave, open_descriptors(pid))
                if lower >= soft:
                    return
                undo.note_lowered(limit.step, lower)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (lower, hard))
            except ProcessLookupError:
                return
            except OSError as error:
                raise InjectionFailed(f"the limit of process {pid} cannot be lowered: {error}") from None
        limit.touched = 1

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Give everything back."""
        limit = self._limited.get((key, target))
        if limit is None:
            return await super().recover(key, target)
        try:
            undo.restore_files(limit.step)
        except StepFailed as error:
            raise RecoveryFailed(str(error)) from None
        return self._effect(limit)

    async def effects(self, key: str, target: str) -> dict[str, int]:
        """What is held, or whether the limit is lowered."""
        limit = self._limited.get((key, target))
        return await super().effects(key, target) if limit is None else self._effect(limit)

    async def forget(self, key: str, target: str) -> None:
        """Drop what is kept of one use."""
        self._limited.pop((key, target), None)
        await super().forget(key, target)

    async def observe(self) -> list[tuple[str, str]] | None:
        """The processes whose limit is lower than it was, and what helpers hold."""
        on = await super().observe() or []
        for (key, target), limit in self._limited.items():
            found = process(limit.step["pid"])
            if found is not None and found.start == limit.step["start"] and _limits_of(found)[0] < limit.step["soft"]:
                on.append((key, target))
        return on

    def _effect(self, limit: _Limit) -> dict[str, int]:
        return {"limited": limit.touched, "touched": limit.touched}


def open_descriptors(pid: int) -> frozenset[int]:
    """The numbers of the files that a process has open. Raises OSError."""
    return frozenset(int(name) for name in os.listdir(f"/proc/{pid}/fd"))


def limit_that_leaves(free: int, taken: frozenset[int]) -> int:
    """The soft limit below which so many numbers are free: it limits the numbers, not how many files are open, and
    there may be gaps."""
    number = 0
    while free or number in taken:
        free -= number not in taken
        number += 1
    return number


def _limits_of(found: Process) -> tuple[int, int]:
    """Soft and hard limit of open files. Raises `Refused` where this peer may not change them."""
    try:
        os.listdir(f"/proc/{found.pid}/fd")
        return resource.prlimit(found.pid, resource.RLIMIT_NOFILE)
    except ProcessLookupError:
        return 0, 0
    except PermissionError:
        raise Refused(
            f"this peer may not limit process {found}: it belongs to another user, and the peer lacks the capability "
            "CAP_SYS_RESOURCE",
            hint="start the peer as root, or with AmbientCapabilities=CAP_SYS_RESOURCE CAP_SYS_PTRACE",
        ) from None
    except OSError as error:
        raise Refused(f"the limits of process {found} cannot be read: {error}") from None


def make(host: Host) -> FileDescriptors:
    """The fault."""
    return FileDescriptors(host)

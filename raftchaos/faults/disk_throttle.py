"""The fault disk_throttle: limits what processes read and write. Its parameters stand in
`model.faults.disk_throttle`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raftchaos.errors import InjectionFailed, NotFound, RecoveryFailed, Refused
from raftchaos.faults.base import CatalogueFault, Host, NodeContext
from raftchaos.faults.processes import selecting
from raftchaos.faults.processes.containers import groups_of
from raftchaos.faults.records import Step
from raftchaos.faults.resources import groups, io_limits, undo
from raftchaos.faults.undo_plan import StepFailed
from raftchaos.model.faults.disk_throttle import FAULT, DiskThrottleParameters

_KNOWN: Final = 1_000
"""Targets whose group is remembered from `resolve` to the injection."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A control group and a disk."""

    group: Path
    device: str


@dataclass(slots=True)
class _Throttle:
    """One use of the fault."""

    place: _Place
    step: Step
    passed: dict[str, int]
    """The counters of the disk when it was last put on."""
    effect: dict[str, int] | None = None


class DiskThrottle(CatalogueFault[DiskThrottleParameters]):
    """Targets are `io:<group> <major>:<minor>`: each control group that a selected process is in, and the disk."""

    def __init__(self, host: Host) -> None:
        super().__init__(FAULT, DiskThrottleParameters, host)
        self._places: dict[str, _Place] = {}
        self._throttles: dict[tuple[str, str], _Throttle] = {}

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The groups of the selected processes. Refused where the peer is in one of them, or one cannot be limited."""
        wanted = self.read(parameters)
        device = _disk(wanted.path)
        own = {*self._host.own_pids(), os.getpid()}
        root = groups.mount()
        assert root is not None  # else `needs` had refused the fault
        found = set()
        for each in selecting.select(wanted, own):
            group = unified(groups_of(each.pid))
            _check(root, group, own)
            name = selecting.target("io", f"{group} {device}")
            while len(self._places) >= _KNOWN:
                self._places.pop(next(iter(self._places)), None)
            self._places[name] = _Place(root / group.lstrip("/"), device)
            found.add(name)
        return tuple(sorted(found))

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """The limits that the group has now are set again."""
        place = self._places[target]
        step: Step = {"do": "resources.restore_io", "group": str(place.group), "device": place.device}
        try:
            step |= {
                "before": io_limits.read(place.group, place.device),
                "passed": io_limits.stat(place.group, place.device),
            }
        except OSError as error:
            raise NotFound(f"the limits of {place.group} cannot be read: {error}") from None
        self._throttles[key, target] = _Throttle(place, step, step["passed"])
        return [step]

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Set the limits; the others that the group has stay."""
        throttle = self._throttles[key, target]
        place, throttle.effect = throttle.place, None
        try:
            throttle.passed = io_limits.stat(place.group, place.device)
            io_limits.write(place.group, place.device, self.read(parameters).limits())
        except OSError as error:
            raise InjectionFailed(f"the limits of {place.group} cannot be set: {error}") from None

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Set the limits of before; returns what went through under ours."""
        throttle = self._throttles.get((key, target))
        if throttle is None:
            return {"touched": 0}
        if throttle.effect is None:
            try:
                effect = undo.restore_io({**throttle.step, "passed": throttle.passed})
            except StepFailed as error:
                raise RecoveryFailed(str(error)) from None
            throttle.effect = {"touched": 0, **effect}
        return throttle.effect

    async def effects(self, key: str, target: str) -> dict[str, int]:
        """What has gone through so far."""
        throttle = self._throttles.get((key, target))
        if throttle is None:
            return {"touched": 0}
        if throttle.effect is not None:
            return dict(throttle.effect)
        try:
            return io_limits.passed(throttle.place.group, throttle.place.device, throttle.passed)
        except OSError:
            return {"touched": 0}

    async def forget(self, key: str, target: str) -> None:
        """Drop what is kept of one use."""
        self._throttles.pop((key, target), None)

    async def observe(self) -> list[tuple[str, str]] | None:
        """The groups of ours whose limits are not what they were."""
        on = []
        for (key, target), throttle in self._throttles.items():
            try:
                now = io_limits.read(throttle.place.group, throttle.place.device)
            except OSError:
                continue
            if now != throttle.step["before"]:
                on.append((key, target))
        return on


def unified(text: str) -> str:
    """The path of a process's group in cgroup v2, from the text of /proc/PID/cgroup; "/" if it has none."""
    for line in text.splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            return path
    return "/"


def _disk(path: str) -> str:
    try:
        return io_limits.device_of(path)
    except FileNotFoundError:
        raise NotFound(f"found nothing at {path}, expected a file or folder on the disk") from None
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be throttled: {error}", hint="name a path on a local disk") from None


def _check(root: Path, group: str, own: Collection[int]) -> None:
    folder = root / group.lstrip("/")
    if not group.strip("/"):
        raise Refused(
            "a selected process is in the root of the control groups, which has no limits",
            hint="run it as a systemd unit or in a container",
        )
    if any(inside(group, unified(groups_of(pid))) for pid in own):
        raise Refused(f"this peer itself is in the control group {group}", hint="select other processes")
    if not (folder / "io.max").exists():
        raise Refused(
            f"the io controller is not on for the control group {group}",
            hint="set IOAccounting=yes for its systemd unit, or add +io to cgroup.subtree_control of the groups above",
        )
    if not os.access(folder / "io.max", os.W_OK):
        raise Refused(
            f"this peer may not write {folder / 'io.max'}: it lacks the permission, or the capability CAP_DAC_OVERRIDE",
            hint="start the peer as root",
        )


def inside(group: str, other: str) -> bool:
    """Whether a group is another, or above it."""
    return other == group or other.startswith(f"{group}/")


def make(host: Host) -> DiskThrottle:
    """The fault."""
    return DiskThrottle(host)

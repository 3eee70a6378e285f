"""One fault of the catalogue on this machine: driven as the executor does it, undone as main or the reaper does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raftchaos.clock import SystemClock
from raftchaos.errors import RecoveryFailed
from raftchaos.faults import build_faults
from raftchaos.faults.base import Host, NodeContext
from raftchaos.faults.records import UndoRecord
from raftchaos.faults.rhythm import without_rhythm
from raftchaos.faults.twin import InMemoryProxy
from raftchaos.faults.undo_plan import UndoPass
from raftchaos.model.faults import FAULTS

NODE = NodeContext("here", ())
_PATIENCE = 10.0
KEY = "task/1/0/here/1#0"


class OneFault:
    """One use of one fault on all its targets."""

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, Any],
        data_dir: Path,
        *,
        own: frozenset[int] = frozenset(),
        plugins: Path | None = None,
        node: NodeContext = NODE,
        cluster: tuple[str, ...] = (),
    ) -> None:
        host = Host(
            InMemoryProxy(SystemClock()), data_dir, plugins, own_pids=lambda: own, cluster_addresses=lambda: cluster
        )
        self.node = node
        self.fault = build_faults(host, [name])[name]
        self.parameters = FAULTS[name].parameters.model_validate(dict(parameters)).complete()
        self.targets: tuple[str, ...] = ()
        self.plan: list[dict[str, Any]] = []

    def resolve(self) -> tuple[str, ...]:
        """Its targets."""
        return self.fault.resolve(self.parameters, self.node)

    async def inject(self, lease: float = 60.0, seed: int = 7) -> None:
        """Resolve, write the undo plan, put it on."""
        self.targets = self.resolve()
        self.plan = [step for target in self.targets for step in self.fault.undo_steps(KEY, target)]
        await self.again(lease, seed)

    async def again(self, lease: float = 60.0, seed: int = 7) -> None:
        """Put it on under the plan that there is, as a pulse or a repetition does."""
        own = without_rhythm(self.parameters)
        for target in self.targets:
            await self.fault.inject(KEY, target, own, seed, boot() + lease)

    async def recover(self) -> dict[str, int]:
        """Take it back as main does; the sum of what it did."""
        return total([await self._recover(target) for target in self.targets])

    async def _recover(self, target: str) -> dict[str, int]:
        """Again and again, as the agent does."""
        end = boot() + _PATIENCE
        while True:
            try:
                return await self.fault.recover(KEY, target)
            except RecoveryFailed:
                if boot() > end:
                    raise

    async def effects(self) -> dict[str, int]:
        """What it has done so far."""
        return total([await self.fault.effects(KEY, target) for target in self.targets])

    def reap(self) -> dict[str, int]:
        """Take it back as the reaper does, by the plan alone; what it did."""
        with UndoPass() as one_pass:
            effects, problem = one_pass.undo(UndoRecord("run", 0, self.fault.kind, tuple(self.plan)))
        assert not problem
        return effects[0] if effects else {}

    async def seen(self) -> list[str]:
        """The targets on which it is on, as read back from the machine."""
        return sorted(target for key, target in await self.fault.observe() or [] if key == KEY)


def total(effects: list[dict[str, int]]) -> dict[str, int]:
    """The sum of several effects."""
    return {name: sum(effect.get(name, 0) for effect in effects) for name in {n for e in effects for n in e}}


def boot() -> float:
    """The clock of leases."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)

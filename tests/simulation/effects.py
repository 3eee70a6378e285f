"""What is done to a simulated machine. Whoever checks the guarantees looks here, never at what the product believes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raftchaos.errors import InjectionFailed
from raftchaos.faults.base import Lost, NodeContext
from raftchaos.faults.records import Step

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

BURN = "burn"
"""A fault that no proxy bears: it stays until main or the reaper takes it back."""

STRIKE = "strike"
"""A one-shot fault: it is done and over, and must never be done twice."""


@dataclass
class Effect:
    """One fault of one run, on one target of a machine."""

    key: str
    run: str
    target: str
    kind: str
    """`proxy`: gone with its lease or its process. `process`: stays until somebody takes it back."""
    life: int
    """Incarnation of the main process that did it."""
    epoch: int
    """The lease that it was done under."""
    leases: Mapping[int, float]
    """The ends of that main's leases on this machine's clock; grows while they are renewed."""
    began: float
    touched: int


class BurnFault:
    """Implements `faults.base.Fault` on a simulated machine, in a random time; may fail in either direction."""

    type = BURN
    kind = "continuous"
    recovery_seconds = 1.5
    pulses_itself = False
    holds_deadline = False

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def why_not(self) -> str:
        """Every simulated machine can."""
        return ""

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The whole machine, or the part of it that the parameters name."""
        return (f"burn:{parameters.get('part', 'cpu')}",)

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """What the reaper does."""
        return [{"do": "sim.undo", "machine": self._machine.name, "key": key}]

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """It is on after some milliseconds; main may be frozen or killed before or after."""
        machine = self._machine
        await machine.wait(0.001, 0.04)
        machine.put_on(key, target, "process")
        await machine.wait(0.001, 0.02)
        if machine.inject_fails:
            raise InjectionFailed("the simulated machine declined")

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """It is off after some time, unless this machine cannot take anything back now."""
        machine = self._machine
        machine.recovering.add(key)
        await machine.wait(0.005, machine.slowest_recovery)
        return machine.take_off(key)

    async def forget(self, key: str, target: str) -> None:
        """Nothing is kept."""

    async def renew(self, lease_end: float) -> None:
        """Nothing outside of main holds a deadline."""

    async def lost(self) -> Lost:
        """Nothing ends it but its run."""
        return {}

    async def effects(self, key: str, target: str) -> dict[str, int]:
        """Nobody asks a simulated machine."""
        return {}

    async def observe(self) -> list[tuple[str, str]] | None:
        """Nobody asks a simulated machine."""
        return None


class StrikeFault(BurnFault):
    """A one-shot fault: main may be frozen or killed before the act, or between it and its record."""

    type = STRIKE
    kind = "oneShot"

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The whole machine."""
        return ("strike:all",)

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """Nothing can be taken back."""
        return []

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """It is done after some milliseconds."""
        await self._machine.wait(0.001, 0.04)
        self._machine.strike(key)
        await self._machine.wait(0.001, 0.02)

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """What it did."""
        return {"touched": 1}

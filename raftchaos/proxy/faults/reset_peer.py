"""reset_peer: connections are reset (TCP RST) `afterMs` after they opened, or after the fault began if later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.delayline import NEVER
from raftchaos.proxy.toxic import Fault, Toxic, number


class ResetToxic(Toxic):
    """Resets one connection at a given instant."""

    __slots__ = ("_fault",)

    def __init__(self, fault: ResetPeer, at: float) -> None:
        super().__init__()
        self._fault = fault
        self.wake_at = at

    def wake(self, now: float) -> bool:
        self.wake_at = NEVER
        self._fault.effect.add("touched")
        self._fault.effect.add("connections")
        return True


class ResetPeer(Fault):
    """`afterMs`; `probability` is the part of the connections that are reset."""

    type: ClassVar[str] = "reset_peer"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self._after = number(parameters, "afterMs", 0.0, 0, limits.FAULT_DELAY_MS) / 1000

    def toxic(self, position: int, now: float) -> Toxic | None:
        return ResetToxic(self, now + self._after) if self.hits(position) else None

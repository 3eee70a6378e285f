"""slow_close: the end of a connection is passed on later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import number
from raftchaos.proxy.connection_fault import ConnectionFault, ConnectionToxic
from raftchaos.proxy.toxic import Client, directions


class SlowCloseToxic(ConnectionToxic["SlowClose"]):
    """Holds the ends of one connection."""

    __slots__ = ("_held",)

    def __init__(self, fault: SlowClose, position: int) -> None:
        super().__init__(fault, position)
        self._held: set[int] = set()

    def end(self, direction: int, at: float) -> float:
        if direction not in self.fault.directions:
            return at
        if direction not in self._held:
            self._held.add(direction)
            self.fault.effect.touch("ends")
        return at + self.fault.delay


class SlowClose(ConnectionFault):
    """`delayMs`, `direction`."""

    type: ClassVar[str] = "slow_close"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.delay = number(parameters, "delayMs", 1000.0, 0, limits.FAULT_DELAY_MS) / 1000
        self.directions = directions(parameters)

    def touch(self, position: int, client: Client, now: float) -> SlowCloseToxic:
        return SlowCloseToxic(self, position)

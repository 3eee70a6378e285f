"""limit_time: a connection is closed a while after its first byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import number
from raftchaos.proxy.commands import Ending
from raftchaos.proxy.connection_fault import ConnectionFault, ConnectionToxic
from raftchaos.proxy.delayline import NEVER
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Chunks, Client


class LimitTimeToxic(ConnectionToxic["LimitTime"]):
    """Cuts one connection off."""

    __slots__ = ("_began",)

    ends: ClassVar[bool] = True

    def __init__(self, fault: LimitTime, position: int) -> None:
        super().__init__(fault, position)
        self._began = False

    def shapes(self, direction: int) -> bool:
        return True

    def shape(self, direction: int, exchange: Exchange | None, at: float, data: bytes) -> Chunks:
        if not self._began:
            self._began = True
            self.wake_at = at + self.fault.limit
        return [(at, data)]

    def wake(self, now: float) -> None:
        self.wake_at = NEVER
        self.fault.effect.touch("connections")
        self.ending = Ending.HANG_UP


class LimitTime(ConnectionFault):
    """`limitMs`."""

    type: ClassVar[str] = "limit_time"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.limit = number(parameters, "limitMs", -1, 0, limits.FAULT_DELAY_MS) / 1000

    def touch(self, position: int, client: Client, now: float) -> LimitTimeToxic:
        return LimitTimeToxic(self, position)

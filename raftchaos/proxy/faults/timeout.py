"""timeout: data is held as if the cable were pulled; the connection stays open, or is closed after a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import number, word
from raftchaos.proxy.commands import Ending
from raftchaos.proxy.connection_fault import ConnectionFault, ConnectionToxic
from raftchaos.proxy.delayline import NEVER
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Chunks, Client, directions


class TimeoutToxic(ConnectionToxic["Timeout"]):
    """Holds what one connection carries."""

    __slots__ = ("_touched",)

    ends: ClassVar[bool] = True

    def __init__(self, fault: Timeout, position: int, now: float) -> None:
        super().__init__(fault, position)
        self._touched = False
        if fault.timeout:
            self.wake_at = now + fault.timeout

    def window(self, direction: int) -> int:
        return limits.PROXY_SHAPED

    def shapes(self, direction: int) -> bool:
        return direction in self.fault.directions

    def shape(self, direction: int, exchange: Exchange | None, at: float, data: bytes) -> Chunks:
        self._touch()
        self.fault.effect.add("bytes", len(data))
        return [(NEVER, data)]

    def end(self, direction: int, at: float) -> float:
        if direction not in self.fault.directions:
            return at
        self._touch()
        return NEVER

    def wake(self, now: float) -> None:
        self.wake_at = NEVER
        self._touch()
        self.fault.effect.add("closed")
        self.ending = Ending.HANG_UP

    def leave(self, now: float) -> None:
        if self.fault.closes:
            self._touch()
            self.fault.effect.add("closed")
            self.ending = Ending.HANG_UP

    def _touch(self) -> None:
        if not self._touched:
            self._touched = True
            self.fault.effect.touch("connections")


class Timeout(ConnectionFault):
    """`timeoutMs`, `direction`, `afterwards`."""

    type: ClassVar[str] = "timeout"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.timeout = number(parameters, "timeoutMs", 0.0, 0, limits.FAULT_DELAY_MS) / 1000
        self.closes = word(parameters, "afterwards", "resume", "close") == "close"
        self.directions = directions(parameters)

    def replaced(self) -> None:
        self.closes = False

    def touch(self, position: int, client: Client, now: float) -> TimeoutToxic:
        return TimeoutToxic(self, position, now)

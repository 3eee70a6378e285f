"""reset_peer: connections are reset (TCP RST) `afterMs` after they opened, or after the fault began if later."""

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


class ResetToxic(ConnectionToxic["ResetPeer"]):
    """Resets one connection, a while after it opened."""

    __slots__ = ()

    ends: ClassVar[bool] = True

    def begin(self, at: float) -> None:
        """It is time from this instant on."""
        self.wake_at = at + self.fault.after

    def wake(self, now: float) -> None:
        self.wake_at = NEVER
        self.fault.effect.touch("connections")
        self.ending = Ending.RESET


class FirstByteResetToxic(ResetToxic):
    """Resets one connection, a while after its first byte, which does not arrive."""

    __slots__ = ("_began",)

    def __init__(self, fault: ResetPeer, position: int) -> None:
        super().__init__(fault, position)
        self._began = False

    def window(self, direction: int) -> int:
        return limits.PROXY_SHAPED

    def shapes(self, direction: int) -> bool:
        return direction in self.fault.directions

    def shape(self, direction: int, exchange: Exchange | None, at: float, data: bytes) -> Chunks:
        if not self._began:
            self._began = True
            self.begin(at)
        return [(NEVER, data)]


class ResetPeer(ConnectionFault):
    """`afterMs`, `since`, `direction`."""

    type: ClassVar[str] = "reset_peer"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.after = number(parameters, "afterMs", 0.0, 0, limits.FAULT_DELAY_MS) / 1000
        self.waits_for_data = word(parameters, "since", "open", "firstByte") == "firstByte"
        self.directions = directions({"direction": "both", **parameters})

    def touch(self, position: int, client: Client, now: float) -> ResetToxic:
        if self.waits_for_data:
            return FirstByteResetToxic(self, position)
        toxic = ResetToxic(self, position)
        toxic.begin(now)
        return toxic

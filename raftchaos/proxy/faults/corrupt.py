"""corrupt: bytes arrive changed, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import Damage, draw, number, word
from raftchaos.proxy.connection_fault import ConnectionFault, ConnectionToxic
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Chunks, Client, directions


class CorruptToxic(ConnectionToxic["Corrupt"]):
    """Damages what one connection carries."""

    __slots__ = ("_bursts", "_damage")

    def __init__(self, fault: Corrupt, position: int) -> None:
        super().__init__(fault, position)
        self._bursts = 0
        self._damage = [Damage(fault.rate, fault.mode, fault.seed, position, direction) for direction in (0, 1)]

    def shapes(self, direction: int) -> bool:
        return direction in self.fault.directions

    def shape(self, direction: int, exchange: Exchange | None, at: float, data: bytes) -> Chunks:
        self._bursts += 1
        fault = self.fault
        if fault.mode == "truncation":
            if len(data) < 2 or draw(fault.seed, self.position, "burst", self._bursts) >= fault.rate:
                return [(at, data)]
            half = len(data) // 2
            fault.effect.touch("bytes", len(data) - half)
            return [(at, data[:half])]
        data, count = self._damage[direction].apply(data)
        if count:
            fault.effect.touch("bytes", count)
        return [(at, data)]


class Corrupt(ConnectionFault):
    """`mode`, `rate`, `direction`."""

    type: ClassVar[str] = "corrupt"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.mode = word(parameters, "mode", "bitFlips", "randomBytes", "truncation")
        most = 1.0 if self.mode == "truncation" else limits.DAMAGE
        self.rate = number(parameters, "rate", 0.001, 0.0, most)
        self.directions = directions(parameters)

    def touch(self, position: int, client: Client, now: float) -> CorruptToxic:
        self.effect.add("connections")
        return CorruptToxic(self, position)

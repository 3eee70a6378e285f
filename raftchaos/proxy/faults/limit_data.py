"""limit_data: a connection is closed after so many bytes of one direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import number
from raftchaos.proxy.commands import Ending
from raftchaos.proxy.connection_fault import ConnectionFault, ConnectionToxic
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Chunks, Client, directions


class LimitDataToxic(ConnectionToxic["LimitData"]):
    """Counts what one connection carries."""

    __slots__ = ("_left",)

    ends: ClassVar[bool] = True

    def __init__(self, fault: LimitData, position: int) -> None:
        super().__init__(fault, position)
        self._left = fault.limit

    def shapes(self, direction: int) -> bool:
        return direction in self.fault.directions

    def shape(self, direction: int, exchange: Exchange | None, at: float, data: bytes) -> Chunks:
        kept = data[: self._left] if len(data) > self._left else data
        self._left -= len(kept)
        self.fault.effect.add("bytes", len(kept))
        if self._left == 0 and self.ending is None:
            self.fault.effect.touch("connections")
            self.ending = Ending.CLOSE
        return [(at, kept)] if kept else []


class LimitData(ConnectionFault):
    """`limitBytes`, `direction`."""

    type: ClassVar[str] = "limit_data"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.limit = int(number(parameters, "limitBytes", -1, 0, limits.TRAFFIC_BYTES))
        self.directions = directions(parameters)

    def touch(self, position: int, client: Client, now: float) -> LimitDataToxic:
        return LimitDataToxic(self, position)

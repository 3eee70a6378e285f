"""bandwidth: data goes on no faster than a limit, evenly; the sender is held back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import number, word
from raftchaos.proxy.connection_fault import ConnectionFault, ConnectionToxic
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Chunks, Client, directions

_SLICE_SECONDS = 0.01  # a piece takes so long, so that the flow is even
_SLICE_LEAST = 256
_WINDOW_SECONDS = 0.5  # so much waits at most: enough that the line does not run dry when a timer is late


class BandwidthToxic(ConnectionToxic["Bandwidth"]):
    """Slows one connection."""

    __slots__ = ("_free",)

    def __init__(self, fault: Bandwidth, position: int) -> None:
        super().__init__(fault, position)
        self._free = fault.free if fault.shared else [0.0, 0.0]

    def window(self, direction: int) -> int:
        return int(min(max(limits.PROXY_SHAPED / 4, self.fault.rate * _WINDOW_SECONDS), limits.PROXY_DELAYED))

    def shapes(self, direction: int) -> bool:
        return direction in self.fault.directions

    def shape(self, direction: int, exchange: Exchange | None, at: float, data: bytes) -> Chunks:
        fault = self.fault
        free = max(self._free[direction], at)
        chunks: Chunks = []
        for start in range(0, len(data), fault.slice):
            piece = data[start : start + fault.slice] if len(data) > fault.slice else data
            free += len(piece) / fault.rate  # its last byte arrives then
            chunks.append((free, piece))
        self._free[direction] = free
        fault.effect.touch("bytes", len(data))
        return chunks


class Bandwidth(ConnectionFault):
    """`kilobytesPerSecond`, `sharedBy`, `direction`."""

    type: ClassVar[str] = "bandwidth"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.rate = 1000 * number(parameters, "kilobytesPerSecond", 0, 1e-3, limits.TRAFFIC_BYTES / 1000)
        self.slice = max(_SLICE_LEAST, int(self.rate * _SLICE_SECONDS))
        self.shared = word(parameters, "sharedBy", "connection", "proxy") == "proxy"
        self.free = [0.0, 0.0]
        """By direction: when what all connections share is free again."""
        self.directions = directions(parameters)

    def touch(self, position: int, client: Client, now: float) -> BandwidthToxic:
        self.effect.add("connections")
        return BandwidthToxic(self, position)

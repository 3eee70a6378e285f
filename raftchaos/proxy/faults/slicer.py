"""slicer: data goes on in small pieces, with a pause before each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import ParameterError, draw, number
from raftchaos.proxy.connection_fault import ConnectionFault, ConnectionToxic
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Chunks, Client, directions

_LARGEST = 64 * 1024


class SlicerToxic(ConnectionToxic["Slicer"]):
    """Cuts what one connection carries."""

    __slots__ = ("_free", "_pieces")

    def __init__(self, fault: Slicer, position: int) -> None:
        super().__init__(fault, position)
        self._free = [0.0, 0.0]
        self._pieces = 0

    def window(self, direction: int) -> int:
        return limits.PROXY_SHAPED

    def shapes(self, direction: int) -> bool:
        return direction in self.fault.directions

    def shape(self, direction: int, exchange: Exchange | None, at: float, data: bytes) -> Chunks:
        fault = self.fault
        free = max(self._free[direction], at)
        chunks: Chunks = []
        start = 0
        while start < len(data):
            end = start + fault.size(self.position, self._pieces)
            self._pieces += 1
            free += fault.pause
            chunks.append((free, data[start:end]))
            start = end
        self._free[direction] = free
        fault.effect.touch("pieces", len(chunks))
        return chunks


class Slicer(ConnectionFault):
    """`averageBytes`, `variationBytes`, `delayMs`, `direction`."""

    type: ClassVar[str] = "slicer"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self._average = int(number(parameters, "averageBytes", 64, 1, _LARGEST))
        self._variation = int(number(parameters, "variationBytes", 0, 0, _LARGEST))
        if self._variation >= self._average:
            raise ParameterError(f"variationBytes is {self._variation}, expected less than averageBytes")
        self.pause = number(parameters, "delayMs", 1.0, 0, limits.FAULT_DELAY_MS) / 1000
        self.directions = directions(parameters)

    def size(self, *place: int | str) -> int:
        """How large the piece at this place is."""
        if not self._variation:
            return self._average
        return self._average - self._variation + int(draw(self.seed, "size", *place) * (2 * self._variation + 1))

    def touch(self, position: int, client: Client, now: float) -> SlicerToxic:
        self.effect.add("connections")
        return SlicerToxic(self, position)

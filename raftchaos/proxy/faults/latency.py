"""latency: data arrives later, by `latencyMs` ± `jitterMs` (uniform), in order and with its throughput kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Fault, ParameterError, Toxic, draw, number

_DIRECTIONS = {"downstream": (DOWNSTREAM,), "upstream": (UPSTREAM,), "both": (UPSTREAM, DOWNSTREAM)}


class LatencyToxic(Toxic):
    """Delays one connection. Of HTTP all parts of a message are delayed alike; of other protocols each burst anew."""

    __slots__ = ("_bursts", "_delays", "_fault", "_position", "_touched")

    shapes: ClassVar[bool] = True

    def __init__(self, fault: Latency, position: int) -> None:
        super().__init__()
        self._fault = fault
        self._position = position
        self._bursts = 0
        self._touched = -1  # the newest request that was counted
        self._delays: list[tuple[int, float]] = [(-1, 0.0), (-1, 0.0)]  # by direction: (request, its delay)

    def shape(
        self, direction: int, exchange: Exchange | None, chunks: list[tuple[float, bytes]]
    ) -> list[tuple[float, bytes]]:
        if direction not in self._fault.directions:
            return chunks
        if exchange is None:
            delay = self._fault.delay(self._position, "burst", self._bursts)
            self._bursts += 1
            self._count("bursts", delay)
        else:
            known, delay = self._delays[direction]
            if known != exchange.number:
                delay = self._fault.delay(self._position, direction, exchange.number)
                self._delays[direction] = (exchange.number, delay)
                # a request that is delayed both ways is one request; the oldest open one is never behind by more
                self._count("requests" if exchange.number > self._touched else "", delay)
                self._touched = max(self._touched, exchange.number)
        self._fault.effect.add("bytes", sum(len(data) for _, data in chunks))
        return [(at + delay, data) for at, data in chunks]

    def _count(self, what: str, delay: float) -> None:
        effect = self._fault.effect
        effect.add("delayedMs", delay * 1000)
        if what:
            effect.add("touched")
            effect.add(what)


class Latency(Fault):
    """`latencyMs`, `jitterMs`, `direction`; `probability` is the part of the connections that are touched."""

    type: ClassVar[str] = "latency"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self._latency = number(parameters, "latencyMs", 100.0, 0, limits.FAULT_DELAY_MS) / 1000
        self._jitter = number(parameters, "jitterMs", 0.0, 0, limits.FAULT_DELAY_MS) / 1000
        direction = parameters.get("direction", "downstream")
        if direction not in _DIRECTIONS:
            raise ParameterError(f"direction is {direction!r}, expected one of {', '.join(_DIRECTIONS)}")
        self.directions = _DIRECTIONS[direction]

    def delay(self, *position: int | str) -> float:
        """Seconds by which what is at this position is delayed, never below 0."""
        if not self._jitter:
            return self._latency
        return max(0.0, self._latency + self._jitter * (2 * draw(self.seed, *position) - 1))

    def toxic(self, position: int, now: float) -> Toxic | None:
        if not self.hits(position):
            return None
        self.effect.add("connections")
        return LatencyToxic(self, position)

"""latency: data arrives later, in order and with its throughput kept.

With a matcher or sample that only HTTP has it delays the requests and responses that match, else all that connections
carry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import ParameterError, draw, number, word
from raftchaos.proxy.commands import DOWNSTREAM
from raftchaos.proxy.editing import Edit, Head
from raftchaos.proxy.http_fault import HttpFault, HttpToxic
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Chunks, Client, Toxic, directions

_PARETO_SHAPE = 3.0  # the smallest whole one that has a standard deviation
_PARETO_MEAN = _PARETO_SHAPE / (_PARETO_SHAPE - 1)
_PARETO_DEVIATION = math.sqrt(_PARETO_SHAPE / (_PARETO_SHAPE - 2)) / (_PARETO_SHAPE - 1)


class LatencyToxic(HttpToxic["Latency"]):
    """Delays one connection. Of HTTP all parts of a message are delayed alike; of other protocols each burst anew."""

    __slots__ = ("_bursts", "_delays", "_touched")

    http: ClassVar[bool] = False

    def __init__(self, fault: Latency, position: int, client: Client) -> None:
        super().__init__(fault, position, client)
        self._bursts = 0
        self._touched = -1  # the newest request that was counted
        self._delays: list[tuple[int, float]] = [(-1, 0.0), (-1, 0.0)]  # by direction: (request, its delay)

    def not_http(self, kind: str) -> None:
        pass  # it delays that, too

    def shapes(self, direction: int) -> bool:
        return direction in self.fault.directions

    def shape(self, direction: int, exchange: Exchange | None, at: float, data: bytes) -> Chunks:
        if exchange is None:
            delay = self.fault.delay(self._position, "burst", self._bursts)
            self._bursts += 1
            self._count_delay("bursts", delay)
        else:
            known, delay = self._delays[direction]
            if known != exchange.number:
                delay = self._delay(direction, exchange)
                self._delays[direction] = (exchange.number, delay)
        if not delay:
            return [(at, data)]
        self.fault.effect.add("bytes", len(data))
        return [(at + delay, data)]

    def _delay(self, direction: int, exchange: Exchange) -> float:
        delay = self.fault.delay(self._position, direction, exchange.number)
        # a request that is delayed both ways is one request; the oldest open one is never behind by more
        self._count_delay("requests" if exchange.number > self._touched else "", delay)
        self._touched = max(self._touched, exchange.number)
        return delay

    def _count_delay(self, what: str, delay: float) -> None:
        self.fault.effect.add("delayedMs", delay * 1000)
        if what:
            self.fault.effect.touch(what)


class PickyLatencyToxic(LatencyToxic):
    """Delays those requests and responses of one connection that match."""

    __slots__ = ("_picked",)

    http: ClassVar[bool] = True
    responds: ClassVar[bool] = True

    def __init__(self, fault: Latency, position: int, client: Client) -> None:
        super().__init__(fault, position, client)
        self._picked: dict[int, bool] = {}  # by the number of the request, once it is known; the open ones

    def not_http(self, kind: str) -> None:
        self.fault.effect.add(kind)

    def edit(self, direction: int, exchange: Exchange, now: float) -> Edit | None:
        if direction == DOWNSTREAM and self.fault.names_itself and self._touches(exchange):
            return Mark(self.fault)
        return None

    def _delay(self, direction: int, exchange: Exchange) -> float:
        if direction == DOWNSTREAM:
            for number_ in [known for known in self._picked if known < exchange.number]:
                del self._picked[number_]
        return super()._delay(direction, exchange) if self._touches(exchange) else 0.0

    def _touches(self, exchange: Exchange) -> bool:
        if exchange.number not in self._picked:
            self._picked[exchange.number] = self._may_touch(exchange) and self.picks(exchange)
        return self._picked[exchange.number]

    def _may_touch(self, exchange: Exchange) -> bool:
        match, response = self.fault.match, exchange.response
        return not match.statuses or (response is not None and match.response(response.status))

    def shape(self, direction: int, exchange: Exchange | None, at: float, data: bytes) -> Chunks:
        if exchange is None or (self.fault.match.statuses and exchange.response is None):
            return [(at, data)]  # no HTTP; or nobody knows yet whether it matches
        return super().shape(direction, exchange, at, data)


class Mark(Edit):
    """Names the fault in a response."""

    def __init__(self, fault: Latency) -> None:
        super().__init__()
        self._fault = fault

    def head(self, head: Head) -> None:
        self._fault.mark(head)


class Latency(HttpFault):
    """`latencyMs`, `jitterMs`, `distribution`, or `quantiles`; `direction`.

    `probability` is the part of the connections that are touched, or of the requests if it matches requests.
    """

    type: ClassVar[str] = "latency"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self._latency = number(parameters, "latencyMs", 100.0, 0, limits.FAULT_DELAY_MS) / 1000
        self._jitter = number(parameters, "jitterMs", 0.0, 0, limits.FAULT_DELAY_MS) / 1000
        self._distribution = word(parameters, "distribution", "uniform", "normal", "pareto")
        self._quantiles = _quantiles(parameters.get("quantiles"))
        self.directions = directions(parameters)
        self._by_request = self.match.http or (self.sample is not None and self.sample.key.http)

    def delay(self, *position: int | str) -> float:
        """Seconds by which what is at this position is delayed, never below 0."""
        if self._quantiles:
            return _between(self._quantiles, draw(self.seed, *position))
        if not self._jitter:
            return self._latency
        delay = self._latency + self._jitter * self._deviation(*position)
        return min(max(0.0, delay), limits.FAULT_DELAY_MS / 1000)

    def _deviation(self, *position: int | str) -> float:
        """How far from the mean, in units of the jitter."""
        chance = draw(self.seed, *position)
        if self._distribution == "uniform":
            return 2 * chance - 1
        if self._distribution == "normal":  # Box and Muller
            angle = 2 * math.pi * draw(self.seed, *position, "angle")
            return math.sqrt(-2 * math.log(1 - chance)) * math.cos(angle)
        return (math.pow(1 - chance, -1 / _PARETO_SHAPE) - _PARETO_MEAN) / _PARETO_DEVIATION

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        if self._by_request:
            return PickyLatencyToxic(self, position, client)
        if not self.picks_connection(position, client):
            return None
        self.effect.add("connections")
        return LatencyToxic(self, position, client)


Points = list[tuple[float, float]]
"""Part of the draws, and the delay in seconds that so many are at most."""


def _quantiles(given: Any) -> Points:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(point, Mapping) for point in given):
        raise ParameterError(f"quantiles is {given!r}, expected a list of percent and latencyMs")
    points = [
        (
            number(point, "percent", -1, 0, 100) / 100,
            number(point, "latencyMs", -1, 0, limits.FAULT_DELAY_MS) / 1000,
        )
        for point in given
    ]
    if not 0 < len(points) <= limits.QUANTILES or points != sorted(points):
        raise ParameterError("quantiles are not in the order of their percents, with latencies that do not fall")
    return points


def _between(points: Points, chance: float) -> float:
    """The delay at this part of a distribution of which these points are known; evenly between two of them."""
    before, low = points[0]
    for part, delay in points:
        if chance <= part:
            return delay if part == before else low + (delay - low) * (chance - before) / (part - before)
        before, low = part, delay
    return low

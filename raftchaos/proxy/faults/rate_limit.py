"""rate_limit: requests that come faster than a token bucket fills are answered with 429 and Retry-After."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos.proxy.chance import number
from raftchaos.proxy.http_fault import HttpFault, HttpToxic, Table
from raftchaos.proxy.matching import Key, path_of
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Answer, Client, Toxic

_BODY = b"raftchaos: an experiment limits the rate of requests\n"


class RateLimitToxic(HttpToxic["RateLimit"]):
    """Limits requests of one connection."""

    __slots__ = ()

    def request(self, exchange: Exchange, now: float) -> Answer | None:
        if not self.picks(exchange):
            return None
        wait = self.fault.wait(self.client, self.place[0], exchange, now)
        if wait == 0:
            self.fault.passed()
            return None
        retry = f"Retry-After: {math.ceil(wait)}"
        return Answer(self.fault.answer(429, _BODY, exchange.head, retry))


class RateLimit(HttpFault):
    """`requestsPerSecond`, `burst`, `per`. A bucket is kept as the instant at which it is full again."""

    type: ClassVar[str] = "rate_limit"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self._interval = 1 / number(parameters, "requestsPerSecond", 0, 1e-6, 1e6)
        self._burst = number(parameters, "burst", 1, 1, 1_000_000)
        per = parameters.get("per", "clientAddress")
        self._whole = per if per in ("route", "proxy") else ""
        self._key = None if self._whole else Key(per)
        self._full: Table[list[float]] = Table()

    def wait(self, client: Client, position: int, exchange: Exchange, now: float) -> float:
        """Take a token for this request: 0; or the seconds until there is one."""
        full = self._full.get(self._bucket(client, position, exchange), [now])
        begin = max(full[0], now)
        wait = begin + self._interval - now - self._burst * self._interval
        if wait > 1e-9:
            return wait
        full[0] = begin + self._interval
        return 0.0

    def _bucket(self, client: Client, position: int, exchange: Exchange) -> str:
        if self._whole == "route":
            return f"{exchange.head.method} {path_of(exchange.head)}"
        return "" if self._key is None else self._key.of(client.address, position, exchange.head) or ""

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        return RateLimitToxic(self, position, client)

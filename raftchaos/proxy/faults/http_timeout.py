"""http_timeout: requests are held, and then answered with 504; the service never sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import number
from raftchaos.proxy.http_fault import HttpFault, HttpToxic
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Answer, Client, Toxic

_BODY = b"raftchaos: an experiment let this request wait in vain\n"


class HttpTimeoutToxic(HttpToxic["HttpTimeout"]):
    """Holds requests of one connection."""

    __slots__ = ()

    def request(self, exchange: Exchange, now: float) -> Answer | None:
        if not self.picks(exchange):
            return None
        self.fault.effect.touch("requests")
        return Answer(self.fault.answer(504, _BODY, exchange.head), now + self.fault.hold)

    def answered(self) -> None:
        """Beside those whose clients hung up before."""
        self.fault.effect.add("answered")


class HttpTimeout(HttpFault):
    """`holdMs`. When the fault ends, what is held is answered at once."""

    type: ClassVar[str] = "http_timeout"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.hold = number(parameters, "holdMs", 30_000.0, 0, limits.FAULT_DELAY_MS) / 1000

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        return HttpTimeoutToxic(self, position, client)

"""http_corrupt: bytes of bodies are changed; heads and lengths stay, so that it still is HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import Damage, number, word
from raftchaos.proxy.commands import UPSTREAM
from raftchaos.proxy.editing import Edit, Head
from raftchaos.proxy.http1 import request_body, response_body
from raftchaos.proxy.http_fault import HttpFault, HttpToxic, RequestEditToxic, ResponseToxic
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Client, Toxic, directions


class DamagedBody(Edit):
    """Damages one body, its first byte in any case."""

    reads_body = True

    def __init__(self, toxic: HttpToxic[HttpCorrupt], *, names: bool) -> None:
        super().__init__()
        fault = toxic.fault
        self._toxic = toxic
        self._names = names
        self._damage = Damage(fault.rate, fault.mode, fault.seed, *toxic.place)
        self._damage.first()
        self._begun = False

    def head(self, head: Head) -> None:
        if self._names:
            self._toxic.fault.mark(head)

    def body(self, data: bytes) -> bytes:
        if self._toxic.gone or not data:
            return data
        effect = self._toxic.fault.effect
        if not self._begun:
            self._begun = True
            effect.touch("bodies")
        data, count = self._damage.apply(data)
        effect.add("bytes", count)
        return data


class ResponseDamageToxic(ResponseToxic["HttpCorrupt"]):
    """Damages responses of one connection."""

    __slots__ = ()

    def change(self, exchange: Exchange) -> Edit | None:
        if exchange.response is None or response_body(exchange.response, exchange.head.method) is None:
            return None
        return DamagedBody(self, names=True)


class RequestDamageToxic(RequestEditToxic["HttpCorrupt"]):
    """Damages requests of one connection."""

    __slots__ = ()

    def change(self, exchange: Exchange) -> Edit | None:
        return None if request_body(exchange.head) is None else DamagedBody(self, names=False)


class HttpCorrupt(HttpFault):
    """`mode`, `rate`, `direction`."""

    type: ClassVar[str] = "http_corrupt"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.mode = word(parameters, "mode", "bitFlips", "randomBytes")
        self.rate = number(parameters, "rate", 0.01, 0.0, limits.DAMAGE)
        self._upstream = UPSTREAM in directions(parameters)

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        kind = RequestDamageToxic if self._upstream else ResponseDamageToxic
        return kind(self, position, client)

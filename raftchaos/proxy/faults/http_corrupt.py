"""http_corrupt: bytes of bodies are changed; heads and lengths stay, so that it still is HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos.proxy.chance import Hits, damage, number, word
from raftchaos.proxy.commands import UPSTREAM
from raftchaos.proxy.editing import Edit, Head
from raftchaos.proxy.http1 import request_body, response_body
from raftchaos.proxy.http_fault import HttpFault, HttpToxic, RequestEditToxic, ResponseToxic
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Client, Toxic, directions


class Damage(Edit):
    """Damages one body, its first byte in any case."""

    reads_body = True

    def __init__(self, toxic: HttpToxic[HttpCorrupt], *, names: bool) -> None:
        super().__init__()
        self._toxic = toxic
        self._names = names
        self._place = toxic.place
        self._hits = Hits(toxic.fault.rate, toxic.fault.seed, *self._place)
        self._pieces = 0

    def head(self, head: Head) -> None:
        if self._names:
            self._toxic.fault.mark(head)

    def body(self, data: bytes) -> bytes:
        fault = self._toxic.fault
        if self._toxic.gone or not data:
            return data
        offsets = self._hits.within(len(data))
        if self._pieces == 0:
            fault.effect.touch("bodies")
            if not offsets or offsets[0] != 0:
                offsets.insert(0, 0)
        self._pieces += 1
        fault.effect.add("bytes", len(offsets))
        return damage(data, offsets, fault.mode, fault.seed, *self._place, self._pieces)


class ResponseDamageToxic(ResponseToxic["HttpCorrupt"]):
    """Damages responses of one connection."""

    __slots__ = ()

    def change(self, exchange: Exchange) -> Edit | None:
        if exchange.response is None or response_body(exchange.response, exchange.head.method) is None:
            return None
        return Damage(self, names=True)


class RequestDamageToxic(RequestEditToxic["HttpCorrupt"]):
    """Damages requests of one connection."""

    __slots__ = ()

    def change(self, exchange: Exchange) -> Edit | None:
        return None if request_body(exchange.head) is None else Damage(self, names=False)


class HttpCorrupt(HttpFault):
    """`mode`, `rate`, `direction`."""

    type: ClassVar[str] = "http_corrupt"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.mode = word(parameters, "mode", "bitFlips", "randomBytes")
        self.rate = number(parameters, "rate", 0.01, 0.0, 1.0)
        self._upstream = UPSTREAM in directions(parameters)

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        kind = RequestDamageToxic if self._upstream else ResponseDamageToxic
        return kind(self, position, client)

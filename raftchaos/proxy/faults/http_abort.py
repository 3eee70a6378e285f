"""http_abort: the connection ends within the body of a response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import number, word
from raftchaos.proxy.commands import Ending
from raftchaos.proxy.editing import Edit
from raftchaos.proxy.http_fault import CutShort, HttpFault, ResponseToxic, kept_of
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Client, Toxic


class HttpAbortToxic(ResponseToxic["HttpAbort"]):
    """Breaks off responses of one connection."""

    __slots__ = ()

    def change(self, exchange: Exchange) -> Edit | None:
        possible, keep = kept_of(exchange, self.fault.after)
        return CutShort(self, keep, self.fault.ending) if possible else None


class HttpAbort(HttpFault):
    """`afterBytes` (absent: half of the body), `ending`."""

    type: ClassVar[str] = "http_abort"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        given = parameters.get("afterBytes") is not None
        self.after = int(number(parameters, "afterBytes", 0, 0, limits.TRAFFIC_BYTES)) if given else None
        self.ending = Ending.BREAK if word(parameters, "ending", "reset", "close") == "reset" else Ending.CLOSE

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        return HttpAbortToxic(self, position, client)

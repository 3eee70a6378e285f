"""http_partial: only the beginning of a response's body arrives, as if that were all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import number
from raftchaos.proxy.editing import Edit
from raftchaos.proxy.http_fault import CutShort, HttpFault, ResponseToxic, kept_of
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Client, Toxic


class HttpPartialToxic(ResponseToxic["HttpPartial"]):
    """Shortens responses of one connection."""

    __slots__ = ()

    def change(self, exchange: Exchange) -> Edit | None:
        possible, keep = kept_of(exchange, self.fault.keep)
        return CutShort(self, keep, None) if possible else None


class HttpPartial(HttpFault):
    """`keepBytes` (absent: half of the body)."""

    type: ClassVar[str] = "http_partial"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        given = parameters.get("keepBytes") is not None
        self.keep = int(number(parameters, "keepBytes", 0, 0, limits.TRAFFIC_BYTES)) if given else None

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        return HttpPartialToxic(self, position, client)

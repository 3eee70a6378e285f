"""http_replace: responses get another body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import ParameterError
from raftchaos.proxy.editing import Edit
from raftchaos.proxy.http1 import response_body
from raftchaos.proxy.http_fault import HttpFault, Replacement, ResponseToxic
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Client, Toxic


class HttpReplaceToxic(ResponseToxic["HttpReplace"]):
    """Replaces bodies of one connection."""

    __slots__ = ()

    def change(self, exchange: Exchange) -> Edit | None:
        if exchange.response is None or response_body(exchange.response, exchange.head.method) is None:
            return None
        return Replacement(self.fault, self.fault.body, content_type=self.fault.content_type)


class HttpReplace(HttpFault):
    """`body`, `contentType`."""

    type: ClassVar[str] = "http_replace"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        body, kind = parameters.get("body", ""), parameters.get("contentType")
        if not isinstance(body, str) or len(body) > limits.FAULT_BODY:
            raise ParameterError(f"body is no text of at most {limits.FAULT_BODY} characters")
        if kind is not None and not (isinstance(kind, str) and kind.isascii() and kind.isprintable()):
            raise ParameterError(f"contentType is {kind!r}, expected a text of visible ASCII characters")
        self.body = body.encode()
        self.content_type = kind

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        return HttpReplaceToxic(self, position, client)

"""http_headers: headers of messages are set and removed on their way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import ParameterError
from raftchaos.proxy.commands import UPSTREAM
from raftchaos.proxy.editing import Edit, Head
from raftchaos.proxy.http_fault import HttpFault, RequestEditToxic, ResponseToxic
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Client, Toxic, directions


class HeaderEdit(Edit):
    """Changes one head."""

    def __init__(self, fault: HttpHeaders, what: str) -> None:
        super().__init__()
        self._fault = fault
        self._what = what

    def head(self, head: Head) -> None:
        for name in self._fault.remove:
            head.remove(name)
        for name, value in self._fault.set.items():
            head.set(name, value)
        if self._what == "responses":
            self._fault.mark(head)
        self._fault.effect.touch(self._what)


class ResponseHeadersToxic(ResponseToxic["HttpHeaders"]):
    """Changes responses of one connection."""

    __slots__ = ()

    def change(self, exchange: Exchange) -> Edit | None:
        return HeaderEdit(self.fault, "responses")


class RequestHeadersToxic(RequestEditToxic["HttpHeaders"]):
    """Changes requests of one connection."""

    __slots__ = ()

    def change(self, exchange: Exchange) -> Edit | None:
        return HeaderEdit(self.fault, "requests")


class HttpHeaders(HttpFault):
    """`set`, `remove`, `direction`."""

    type: ClassVar[str] = "http_headers"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        wanted, unwanted = parameters.get("set") or {}, parameters.get("remove") or []
        if not isinstance(wanted, Mapping) or not all(isinstance(v, str) and _clean(v) for v in wanted.values()):
            raise ParameterError(f"set is {wanted!r}, expected headers with their values")
        if not isinstance(unwanted, list) or len(wanted) + len(unwanted) > 2 * limits.FAULT_HEADERS:
            raise ParameterError(f"remove is {unwanted!r}, expected a list of headers")
        if not all(isinstance(name, str) and name and _clean(name) for name in (*wanted, *unwanted)):
            raise ParameterError("a header's name is no text of visible ASCII characters")
        self.set = {name.encode("ascii"): value.encode("ascii") for name, value in wanted.items()}
        self.remove = [name.encode("ascii") for name in unwanted]
        self._upstream = UPSTREAM in directions(parameters)

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        kind = RequestHeadersToxic if self._upstream else ResponseHeadersToxic
        return kind(self, position, client)


def _clean(text: str) -> bool:
    return text.isascii() and text.isprintable()

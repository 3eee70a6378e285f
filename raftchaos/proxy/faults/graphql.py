"""graphql: responses to GraphQL operations carry an error, or a field that is null.

Which operation it is stands in the request's body, of which a copy is taken while it goes to the service. So the
service has carried it out; what comes back is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs

from raftchaos import limits
from raftchaos.proxy.chance import ParameterError
from raftchaos.proxy.commands import UPSTREAM
from raftchaos.proxy.editing import Edit, Head
from raftchaos.proxy.http1 import ResponseHead, request_body, response_body
from raftchaos.proxy.http_fault import HttpFault, HttpToxic, Replacement
from raftchaos.proxy.matching import globs
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Client, Toxic

_NAMED: Final = re.compile(r"^[ \t]*(?:query|mutation|subscription)\s+([_A-Za-z][_0-9A-Za-z]*)", re.MULTILINE)
_TYPE: Final = "application/json"


class Copy(Edit):
    """Keeps the body of a request, and asks for a response that can be read."""

    reads_body = True

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()

    def head(self, head: Head) -> None:
        head.remove(b"Accept-Encoding")

    def body(self, data: bytes) -> bytes:
        if len(self.data) <= limits.EDITED_BODY:
            self.data += data
        return data


class NullField(Edit):
    """Makes a field of a response null."""

    wants_all = True

    def __init__(self, fault: Graphql, path: list[str]) -> None:
        super().__init__()
        self._fault = fault
        self._path = path

    def rewrite(self, head: Head, body: bytes) -> bytes:
        try:
            answer = json.loads(body)
            changed = isinstance(answer, dict) and nullified(answer.get("data"), self._path)
        except (ValueError, RecursionError):
            changed = False
        if not changed:
            self._fault.passed()
            return body
        for name in (b"ETag", b"Content-MD5", b"Digest", b"Content-Digest"):
            head.remove(name)
        self._fault.mark(head)
        self._fault.effect.touch("responses")
        return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def nullified(value: Any, path: list[str]) -> bool:
    """Set the field at this path to null, in lists that of each entry; whether there was one that was not."""
    if isinstance(value, list):
        return sum(nullified(entry, path) for entry in value) > 0
    name, *rest = path
    if not isinstance(value, dict) or value.get(name) is None:
        return False
    if rest:
        return nullified(value[name], rest)
    value[name] = None
    return True


def operation_of(exchange: Exchange, body: bytes) -> str | None:
    """The name of the operation that a request asks for, empty if it has none; None if it is no GraphQL."""
    asked: Any
    if exchange.head.method == "GET":
        fields = parse_qs(exchange.head.target.partition(b"?")[2].decode("latin-1"), max_num_fields=None)
        asked = {name: found[0] for name, found in fields.items()}
    else:
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            return None
    if not isinstance(asked, dict) or not {"query", "extensions"} & asked.keys():
        return None
    name = asked.get("operationName")
    if isinstance(name, str) and name:
        return name
    query = asked.get("query")
    found_name = _NAMED.search(query) if isinstance(query, str) else None
    return found_name.group(1) if found_name else ""


class GraphqlToxic(HttpToxic["Graphql"]):
    """Changes responses of one connection."""

    __slots__ = ("_copies",)

    responds: ClassVar[bool] = True

    def __init__(self, fault: Graphql, position: int, client: Client) -> None:
        super().__init__(fault, position, client)
        self._copies: dict[int, Copy] = {}  # by the number of the request; those whose response is to come

    def edit(self, direction: int, exchange: Exchange, now: float) -> Edit | None:
        if direction == UPSTREAM:
            if request_body(exchange.head) is None or not self.fault.match.request(exchange.head):
                return None
            self._copies[exchange.number] = copy = Copy()
            return copy
        body = b""
        for number in [known for known in self._copies if known <= exchange.number]:
            copy = self._copies.pop(number)
            body = bytes(copy.data) if number == exchange.number else b""
        return self._change(exchange, body)

    def _change(self, exchange: Exchange, body: bytes) -> Edit | None:
        response, fault = exchange.response, self.fault
        if response is None or response_body(response, exchange.head.method) is None or not _readable(response):
            return None
        name = operation_of(exchange, body)
        if name is None or not fault.means(name) or not self.picks(exchange):
            return None
        if fault.path:
            return NullField(fault, fault.path)
        return Replacement(fault, fault.error, content_type=_TYPE)


def _readable(response: ResponseHead) -> bool:
    """Whether a response is JSON as it stands, and says where it ends."""
    if not response.chunked and response.length is None:
        return False
    kind = next((value for name, value in response.headers if name.lower() == b"content-type"), b"")
    coded = any(name.lower() == b"content-encoding" for name, _ in response.headers)
    return b"json" in kind.lower() and not coded


class Graphql(HttpFault):
    """`operation`, `nullField`, `message`, `code`."""

    type: ClassVar[str] = "graphql"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self._operations = globs(parameters, "operation")
        path, message, code = (parameters.get(name) for name in ("nullField", "message", "code"))
        if not all(text is None or isinstance(text, str) for text in (path, message, code)):
            raise ParameterError("nullField, message or code is no text")
        self.path: list[str] = path.split(".") if path else []
        error: dict[str, Any] = {"message": message or "raftchaos: this error was injected by an experiment"}
        if code:
            error["extensions"] = {"code": code}
        self.error = json.dumps({"data": None, "errors": [error]}, ensure_ascii=False).encode()

    def means(self, operation: str) -> bool:
        """Whether the fault is for operations of this name."""
        return not self._operations or any(pattern.matches(operation) for pattern in self._operations)

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        return GraphqlToxic(self, position, client)

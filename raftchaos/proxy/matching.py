"""What a fault may touch: the parameters `match` (all fields must match, of a list any value) and `sample`. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from raftchaos import limits
from raftchaos.proxy.chance import ParameterError, draw, number
from raftchaos.proxy.http1 import RequestHead

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HTTP_FIELDS = ("method", "path", "header", "query", "bodyBytes")


def values(fields: Mapping[str, Any], name: str, kind: type | tuple[type, ...] = str) -> list[Any] | None:
    """One value or a list of values of a field; None if it is absent. Raises ParameterError."""
    found = fields.get(name)
    if found is None:
        return None
    listed = list(found) if isinstance(found, list | tuple) else [found]
    if not 0 < len(listed) <= limits.MATCH_VALUES or not all(isinstance(value, kind) for value in listed):
        raise ParameterError(f"{name} is {found!r}, expected a value or a list of at most {limits.MATCH_VALUES}")
    return listed


class Glob:
    """A text in which each * stands for any characters, also none. Looks at each character once or twice."""

    __slots__ = ("_pieces",)

    def __init__(self, pattern: str) -> None:
        self._pieces = pattern.split("*")

    def matches(self, text: str) -> bool:
        """Whether the whole text is of this form."""
        first, *middle = self._pieces
        if not middle:
            return text == first
        last = middle.pop()
        if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
            return False
        position, end = len(first), len(text) - len(last)
        for piece in middle:
            found = text.find(piece, position, end)
            if found < 0:
                return False
            position = found + len(piece)
        return True


def globs(fields: Mapping[str, Any], name: str) -> list[Glob]:
    """The patterns of a field. Raises ParameterError."""
    return [Glob(pattern) for pattern in values(fields, name) or []]


@lru_cache(maxsize=1_024)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ParameterError(f"clientAddress is {text!r}, expected an IP address or a network") from None


class Match:
    """The parameter `match`; one that is absent matches everything."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Raises ParameterError."""
        fields = parameters.get("match") or {}
        if not isinstance(fields, Mapping):
            raise ParameterError(f"match is {fields!r}, expected a mapping")
        self._networks = [_network(text) for text in values(fields, "clientAddress") or []]
        statuses = values(fields, "status", (int, str)) or []
        self._statuses = {status for status in statuses if isinstance(status, int)}
        self._classes = {int(status[0]) for status in statuses if isinstance(status, str) and status[:1].isdigit()}
        self._tests: list[Callable[[RequestHead], bool]] = [
            getattr(self, f"_{name.lower()}")(fields) for name in _HTTP_FIELDS if fields.get(name) is not None
        ]
        self.statuses = bool(statuses)
        """Whether it can be told only when the response is there."""
        self.http = self.statuses or bool(self._tests)
        """Whether it can be told only of HTTP."""

    def connection(self, client: str) -> bool:
        """Whether a connection from this address may match."""
        if not self._networks:
            return True
        address = _address(client)
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )

    def request(self, head: RequestHead) -> bool:
        """Whether a request matches; what can be told only by its response is left out."""
        return all(test(head) for test in self._tests)

    def response(self, status: int) -> bool:
        """Whether a response of this status matches."""
        return not self.statuses or status in self._statuses or status // 100 in self._classes

    # ---- the fields; each makes a test from its value

    @staticmethod
    def _method(fields: Mapping[str, Any]) -> Callable[[RequestHead], bool]:
        wanted = {method.upper() for method in values(fields, "method") or []}
        return lambda head: head.method in wanted

    @staticmethod
    def _path(fields: Mapping[str, Any]) -> Callable[[RequestHead], bool]:
        wanted = globs(fields, "path")
        return lambda head: _any(wanted, [path_of(head)])

    @staticmethod
    def _header(fields: Mapping[str, Any]) -> Callable[[RequestHead], bool]:
        wanted = {name.lower(): globs(fields["header"], name) for name in _mapping(fields, "header")}
        return lambda head: all(_any(patterns, headers(head, name)) for name, patterns in wanted.items())

    @staticmethod
    def _query(fields: Mapping[str, Any]) -> Callable[[RequestHead], bool]:
        wanted = {name: globs(fields["query"], name) for name in _mapping(fields, "query")}

        def test(head: RequestHead) -> bool:
            given = parse_qsl(
                head.target.partition(b"?")[2].decode("latin-1"), keep_blank_values=True, max_num_fields=1_000
            )
            return all(_any(patterns, [v for key, v in given if key == name]) for name, patterns in wanted.items())

        def careful(head: RequestHead) -> bool:
            try:
                return test(head)
            except ValueError:  # more fields than anybody reads
                return False

        return careful

    @staticmethod
    def _bodybytes(fields: Mapping[str, Any]) -> Callable[[RequestHead], bool]:
        size = _mapping(fields, "bodyBytes")
        low = number(size, "min", 0, 0, limits.TRAFFIC_BYTES)
        high = (
            number(size, "max", limits.TRAFFIC_BYTES, 0, limits.TRAFFIC_BYTES) if size.get("max") is not None else None
        )
        return lambda head: not head.chunked and low <= head.length and (high is None or head.length <= high)


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields[name]
    if not isinstance(value, Mapping) or len(value) > limits.MATCH_VALUES:
        raise ParameterError(f"{name} is {value!r}, expected a mapping")
    return value


def _any(patterns: Sequence[Glob], texts: Sequence[str]) -> bool:
    return any(pattern.matches(text) for pattern in patterns for text in texts)


def path_of(head: RequestHead) -> str:
    """The path of a request without its query, its percent signs resolved."""
    target = head.target
    if not target.startswith(b"/") and b"://" in target:  # absolute form, as proxies are asked (RFC 9112, 3.2.2)
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    return unquote_to_bytes(target.partition(b"?")[0]).decode("utf-8", "replace")


def headers(head: RequestHead, name: str) -> list[str]:
    """The values of a header, by its name in lower case."""
    wanted = name.encode("latin-1")
    return [value.decode("latin-1") for key, value in head.headers if key.lower() == wanted]


def cookie(head: RequestHead, name: str) -> str | None:
    """The value of a cookie; None if it is not sent."""
    for line in headers(head, "cookie"):
        for pair in line.split(";"):
            key, equals, value = pair.strip().partition("=")
            if equals and key == name:
                return unquote(value.strip('"'))
    return None


class Key:
    """What tells clients apart: `clientAddress`, `connection`, `header:NAME`, `cookie:NAME`."""

    def __init__(self, by: Any) -> None:
        """Raises ParameterError."""
        self.kind, _, self._name = by.partition(":") if isinstance(by, str) else ("", "", "")
        if self.kind in ("header", "cookie"):
            if not self._name:
                raise ParameterError(f"by or per is {by!r}, expected a name after the colon")
        elif by not in ("clientAddress", "connection"):
            raise ParameterError(f"by or per is {by!r}, expected clientAddress, connection, header:… or cookie:…")

    @property
    def http(self) -> bool:
        """Whether it can be told only of HTTP."""
        return self.kind in ("header", "cookie")

    def of(self, client: str, position: int, head: RequestHead | None = None) -> str | None:
        """The key of a connection or request; None if it has none."""
        if self.kind == "clientAddress":
            return str(_address(client) or client)
        if self.kind == "connection":
            return f"#{position}"
        if head is None:
            return None
        if self.kind == "cookie":
            return cookie(head, self._name)
        found = headers(head, self._name.lower())
        return found[0] if found else None


class Sample:
    """The parameter `sample`: a part of the clients, by a keyed hash, the same wherever the seed is the same."""

    def __init__(self, fields: Any, seed: int) -> None:
        """Raises ParameterError."""
        if not isinstance(fields, Mapping):
            raise ParameterError(f"sample is {fields!r}, expected a mapping")
        self._part = number(fields, "percent", 100.0, 0.0, 100.0) / 100
        self.key = Key(fields.get("by", "clientAddress"))
        self._seed = seed

    def has(self, client: str, position: int, head: RequestHead | None = None) -> bool:
        """Whether this connection or request is in the sample."""
        key = self.key.of(client, position, head)
        return key is not None and draw(self._seed, "sample", key) < self._part

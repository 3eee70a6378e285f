"""What the faults that proxies do have in common: which proxies, connections and requests they touch."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultParameters, Probability
from raftchaos.model.names import ProxyName, unique

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, 5.6.2
_BY = "clientAddress, connection, header:NAME or cookie:NAME"


def as_list(value: Any) -> Any:
    """One value is a list of one."""
    return [value] if isinstance(value, str | int) and not isinstance(value, bool) else value


def _unique(names: list[str] | None) -> list[str] | None:
    return names if names is None else unique(names)


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        expected = "an IP address or a network without host bits, as 10.1.2.3 or 10.0.0.0/8"
        raise PydanticCustomError("rule", expected) from None
    return value


def _token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise PydanticCustomError("rule", "a name of letters, digits and hyphens")
    return value


def tells_clients_apart(value: str) -> str:
    """Refuse what tells no clients apart."""
    kind, _, name = value.partition(":")
    if value not in ("clientAddress", "connection") and not (kind in ("header", "cookie") and _TOKEN.fullmatch(name)):
        raise PydanticCustomError("rule", _BY)
    return value


def one_or_more(kind: str) -> WithJsonSchema:
    """The schema of one value, or a list of them."""
    return WithJsonSchema({"anyOf": [{"type": kind}, {"type": "array", "items": {"type": kind}}, {"type": "null"}]})


ProxyNames = Annotated[
    list[ProxyName] | None,
    BeforeValidator(as_list),
    AfterValidator(_unique),
    Field(min_length=1, max_length=limits.PROXIES),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": limits.PROXY_NAME},
                {"type": "array", "items": {"type": "string", "maxLength": limits.PROXY_NAME}, "minItems": 1},
                {"type": "null"},
            ]
        }
    ),
]
"""One proxy or a list of them; absent: all proxies of the node. Always a list once it is validated."""

Direction = Literal["downstream", "upstream", "both"]
"""downstream: what the service sends; upstream: what the client sends."""

Network = Annotated[str, Field(max_length=64), AfterValidator(_network)]
"""An IP address, or a network in CIDR notation without host bits."""

Token = Annotated[str, AfterValidator(_token)]
"""A method, or the name of a header (RFC 9110, 5.6.2)."""

Glob = Annotated[str, Field(min_length=1, max_length=limits.MATCH_TEXT)]
"""A text in which each * stands for any characters, also none."""

_Networks = Annotated[
    list[Network], BeforeValidator(as_list), Field(min_length=1, max_length=limits.MATCH_VALUES), one_or_more("string")
]
_Tokens = Annotated[
    list[Token], BeforeValidator(as_list), Field(min_length=1, max_length=limits.MATCH_VALUES), one_or_more("string")
]
Globs = Annotated[
    list[Glob], BeforeValidator(as_list), Field(min_length=1, max_length=limits.MATCH_VALUES), one_or_more("string")
]
StatusClass = Literal["1xx", "2xx", "3xx", "4xx", "5xx"]
_Statuses = Annotated[
    list[Annotated[int, Field(ge=200, le=599)] | StatusClass],
    BeforeValidator(as_list),
    Field(min_length=1, max_length=limits.MATCH_VALUES),
]


class Part(BaseModel):
    """A mapping within parameters."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class ConnectionMatch(Part):
    """Which connections: all fields must match, of a list any value."""

    client_address: _Networks | None = Field(
        default=None, description="IP address or network (CIDR) of the client, or a list of them."
    )


class BodyRange(Part):
    """Sizes of a body."""

    min: int = Field(default=0, ge=0, description="At least so many bytes; default 0.")
    max: int | None = Field(default=None, ge=0, description="At most so many bytes; absent: any.")


class RequestMatch(ConnectionMatch):
    """Which requests: all fields must match, of a list any value. In texts * stands for any characters."""

    method: _Tokens | None = Field(default=None, description="Method of the request, as GET, or a list.")
    path: Globs | None = Field(
        default=None, description="Path of the request without its query, as /api/*, or a list; * is any characters."
    )
    header: Annotated[dict[Token, Globs], Field(max_length=limits.MATCH_VALUES)] | None = Field(
        default=None, description="Headers by name with the value that they must have, or a list; * is any characters."
    )
    query: Annotated[dict[str, Globs], Field(max_length=limits.MATCH_VALUES)] | None = Field(
        default=None, description="Parameters of the query by name with their value, or a list; * is any characters."
    )
    body_bytes: BodyRange | None = Field(
        default=None,
        description="Size of the request's body, {min, max}; one that is sent in chunks, of a size that nobody knows "
        "beforehand, does not match.",
    )


class HttpMatch(RequestMatch):
    """Which requests, also by their responses."""

    status: _Statuses | None = Field(
        default=None,
        description="Status of the service's response, as 200 or 5xx, or a list; the service has then seen it.",
    )


Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
"""0 to 100."""


class ConnectionSample(Part):
    """A part of the clients or connections, by a keyed hash of the task's seed: who is in it is in it on every node."""

    percent: Percent = Field(description="How many of them, in percent, 0 to 100.")
    by: Literal["clientAddress", "connection"] = Field(
        default="clientAddress", description="clientAddress (the default), or connection: each one anew."
    )


class Sample(Part):
    """A part of the users, by a keyed hash of the task's seed: who is in it is in it on every node."""

    percent: Percent = Field(description="How many of them, in percent, 0 to 100.")
    by: Annotated[str, AfterValidator(tells_clients_apart)] = Field(
        default="clientAddress",
        description="What tells users apart: clientAddress (the default), connection, header:NAME or cookie:NAME. A "
        "request without that header or cookie is not in the sample.",
    )


class ProxyFaultParameters(FaultParameters):
    """Parameters of a fault that the node's proxies do."""

    proxy: ProxyNames = Field(
        default=None, description="Name of a proxy of the node, or a list of names; absent: all proxies of the node."
    )

    def proxies(self, available: list[str]) -> list[str]:
        """Which of the node's proxies are meant. Names that the node does not have are part of the answer."""
        return list(available) if self.proxy is None else list(self.proxy)


class ConnectionFaultParameters(ProxyFaultParameters):
    """Parameters of a fault that touches connections, whatever they carry."""

    probability: Probability = Field(
        default=1.0, description="Part of the connections that are touched, 0 to 1; default 1; 0 touches nothing."
    )
    match: ConnectionMatch | None = Field(
        default=None, description="Only connections for which all fields match: {clientAddress}; absent: all."
    )
    sample: ConnectionSample | None = Field(
        default=None,
        description="Only a part of the clients, the same on every node: {percent, by}; the others are counted as the "
        "control group.",
    )


class PickedRequestParameters(ProxyFaultParameters):
    """Parameters of a fault that HTTP requests are picked for."""

    probability: Probability = Field(
        default=1.0, description="Part of the requests that are touched, 0 to 1; default 1; 0 touches nothing."
    )
    match: RequestMatch | None = Field(
        default=None,
        description="Only requests for which all fields match: {clientAddress, method, path, header, query, "
        "bodyBytes}; absent: all.",
    )
    sample: Sample | None = Field(
        default=None,
        description="Only a part of the users, the same on every node: {percent, by}; the others are counted as the "
        "control group.",
    )


class RequestFaultParameters(PickedRequestParameters):
    """Parameters of a fault that touches HTTP requests, without asking the service."""

    name_fault: bool = Field(
        default=False, description="Whether responses say in the header Raftchaos-Fault what was done; default false."
    )


class ResponseFaultParameters(RequestFaultParameters):
    """Parameters of a fault that may look at the service's response first."""

    match: HttpMatch | None = Field(
        default=None,
        description="Only requests for which all fields match: {clientAddress, method, path, header, query, "
        "bodyBytes, status}; absent: all.",
    )


class EitherFaultParameters(ResponseFaultParameters):
    """Parameters of a fault that touches connections, or requests once a field is given that only HTTP has."""

    probability: Probability = Field(
        default=1.0,
        description="Part of the connections (with a matcher or sample of HTTP: of the requests) that are touched, "
        "0 to 1; default 1; 0 touches nothing.",
    )

    def asks_for_http(self) -> bool:
        """Whether a matcher or the sample can be told only of HTTP requests."""
        match, sample = self.match, self.sample
        fields = match.model_dump(exclude_none=True, exclude={"client_address"}) if match is not None else {}
        return bool(fields) or (sample is not None and sample.by.partition(":")[0] in ("header", "cookie"))

    @model_validator(mode="after")
    def _names_only_http(self) -> Self:
        if self.name_fault and not self.asks_for_http():
            raise PydanticCustomError("rule", "nameFault together with a matcher of HTTP, as match: {path: /*}")
        return self

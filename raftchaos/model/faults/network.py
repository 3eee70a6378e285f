"""What the parameters of the faults of the kernel's network have in common: where, and which packets."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultParameters

HOST_RULE: Final = "an IP address, a network such as 10.1.0.0/16, or a host name"
PORT_RULE: Final = "a port from 1 to 65535, or a range such as 8000-8010"

_INTERFACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,14}")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HOST_NAME: Final = re.compile(r"(?=.{1,253}\Z)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z][A-Za-z0-9_-]{0,62}\.?")  # fmt: skip # noqa: E501
_RANGE: Final = re.compile(r"(\d{1,5})-(\d{1,5})")
_PORT_MAX: Final = 65_535


def as_list(value: Any) -> Any:
    """One value where a list is expected stands for a list of it."""
    return value if value is None or isinstance(value, list) else [value]


def one_or_more(kind: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of one value of a kind, or a list of them, or nothing."""
    return {"anyOf": [kind, {"type": "array", "items": kind, "minItems": 1}, {"type": "null"}]}


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network that an address or a CIDR means; None for a host name. Raises ValueError, also for host bits."""
    if "/" not in text and _HOST_NAME.fullmatch(text):
        return None
    if "%" in text:  # a scope: it may hold anything, and would stand in the text that nft is given
        raise ValueError("an address has no scope here")
    return ipaddress.ip_network(text)


def _host(text: str) -> str:
    try:
        network_of(text)
    except ValueError as error:
        if "host bits" not in str(error):
            raise PydanticCustomError("rule", HOST_RULE) from None
        wide = ipaddress.ip_network(text, strict=False)
        raise PydanticCustomError(
            "rule",
            "a network without host bits: {wide} for the whole of it, or {one} for the one address",
            {"wide": str(wide), "one": text.partition("/")[0]},
        ) from None
    return text


def _port(value: Any) -> int | str:
    first, last = port_range(value) if isinstance(value, int | str) and not isinstance(value, bool) else (0, 0)
    if not 1 <= first <= last <= _PORT_MAX:
        raise PydanticCustomError("rule", PORT_RULE)
    return value  # type: ignore[no-any-return]


def port_range(value: int | str) -> tuple[int, int]:
    """First and last port of a port or a range; (0, 0) for what is neither."""
    if isinstance(value, int):
        return value, value
    found = _RANGE.fullmatch(value)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _interface(text: str) -> str:
    if _INTERFACE.fullmatch(text) is None:
        raise PydanticCustomError("rule", "the name of a network interface, such as eth0 (at most 15 characters)")
    return text


def _namespace(text: str) -> str:
    if _NAMESPACE.fullmatch(text) is None:
        raise PydanticCustomError("rule", "the name of a network namespace, as `ip netns list` shows it")
    return text


_TEXT = {"type": "string"}

Hosts = Annotated[
    list[Annotated[str, AfterValidator(_host)]] | None,
    BeforeValidator(as_list),
    Field(min_length=1, max_length=limits.FAULT_HOSTS),
    WithJsonSchema(one_or_more(_TEXT)),
]
"""One or more addresses, networks or host names. Always a list once it is validated."""

Ports = Annotated[
    list[Annotated[int | str, BeforeValidator(_port)]] | None,
    BeforeValidator(as_list),
    Field(min_length=1, max_length=limits.FAULT_PORTS),
    WithJsonSchema(one_or_more({"anyOf": [{"type": "integer"}, _TEXT]})),
]
"""One or more ports or ranges of ports. Always a list once it is validated."""

Interface = Annotated[str, AfterValidator(_interface)]
"""The name of a network interface."""

NetworkPercent = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
"""Part of the packets: above 0, at most 100."""

Direction = Literal["both", "incoming", "outgoing"]


class Namespace(BaseModel):
    """A network namespace of the node: by its name, or as that of a process."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)

    name: Annotated[str, AfterValidator(_namespace)] | None = Field(
        default=None, description="Its name, as `ip netns list` shows it."
    )
    pid: Annotated[int, Field(ge=1, le=limits.FAULT_PID)] | None = Field(
        default=None, description="A process that is in it, e.g. the first of a container."
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        if (self.name is None) is (self.pid is None):
            raise PydanticCustomError("rule", "either name or pid")
        return self

    def text(self) -> str:
        """In one word, as targets name it."""
        return f"netns={self.name}" if self.name is not None else f"pid={self.pid}"


class NamespaceParameters(FaultParameters):
    """Parameters of a fault within one network namespace."""

    namespace: Namespace | None = Field(
        default=None, description="The network namespace, as {name} or {pid}; absent: the one that the peer is in."
    )


class PlaceParameters(NamespaceParameters):
    """Parameters of a fault on one interface, or on all but loopback, of one namespace."""

    interface: Interface | None = Field(
        default=None, description="Only what goes through this network interface; absent: whatever it goes through."
    )


class NetworkParameters(PlaceParameters):
    """Which packets: those that fulfil everything that is said here.

    The other end is the *host*; a port is the host's, a local port the node's.
    """

    hosts: Hosts = Field(
        default=None,
        description="The other end: an IP address, a network (10.1.0.0/16), a host name, or a list of them. Names are "
        "looked up again while the fault is on; absent: every host, loopback excepted.",
    )
    ports: Ports = Field(
        default=None,
        description="Ports of the other end, for what this node calls: a number, a range (8000-8010), or a list.",
    )
    local_ports: Ports = Field(
        default=None, description="Ports of this node, for what it serves: a number, a range (8000-8010), or a list."
    )
    protocol: Literal["tcp", "udp", "icmp"] | None = Field(
        default=None, description="Only packets of this protocol (icmp: ICMPv6 too); absent: of any."
    )

    @model_validator(mode="after")
    def _ports_have_a_protocol(self) -> Self:
        if self.protocol == "icmp" and (self.ports or self.local_ports):
            raise PydanticCustomError("rule", "no ports beside the protocol icmp, which has none")
        return self

"""dns_answer: lookups of names get other answers than they should."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.network import NamespaceParameters, as_list, one_or_more

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:\*|(?:\*\.)?(?:{_LABEL}\.)*{_LABEL})")
_TEXT = {"type": "string"}


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise PydanticCustomError("rule", "a name such as db.example.com, *.example.com for all below it, or *")
    return text.lower()


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise PydanticCustomError("rule", "an IP address") from None


class DnsAnswerParameters(NamespaceParameters):
    """A small resolver answers in place of the name servers; what it is not told to replace it passes on to them."""

    names: Annotated[
        list[Annotated[str, AfterValidator(_name)]],
        BeforeValidator(as_list),
        WithJsonSchema(one_or_more(_TEXT)),
    ] = Field(
        min_length=1,
        max_length=limits.FAULT_NAMES,
        description="Names whose answers are replaced: db.example.com, *.example.com (all below it), *, or a list.",
    )
    addresses: Annotated[
        list[Annotated[str, AfterValidator(_address)]] | None,
        BeforeValidator(as_list),
        Field(min_length=1, max_length=limits.FAULT_ADDRESSES),
        WithJsonSchema(one_or_more(_TEXT)),
    ] = Field(default=None, description="The addresses that are answered: one or a list, IPv4 and IPv6.")
    error: Literal["nxdomain", "servfail", "refused", "timeout"] | None = Field(
        default=None,
        description="What is answered in place of addresses: nxdomain (no such name), servfail, refused, or timeout "
        "(nothing at all).",
    )
    servers: Annotated[
        list[Annotated[str, AfterValidator(_address)]] | None,
        BeforeValidator(as_list),
        Field(min_length=1, max_length=limits.FAULT_ADDRESSES),
        WithJsonSchema(one_or_more(_TEXT)),
    ] = Field(
        default=None,
        description="The name servers whose answers are replaced, an IP address or a list; absent: those of the "
        "namespace's resolv.conf. Others are asked as before.",
    )
    ttl_seconds: Annotated[int, Field(ge=0, le=86_400)] = Field(
        default=1,
        description="How long answers may be cached, in seconds, 0 to 86400: they outlive the fault; default 1.",
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        if (self.addresses is None) is (self.error is None):
            raise PydanticCustomError("rule", "either addresses or error")
        return self


FAULT = FaultType(
    type="dns_answer",
    kind="continuous",
    parameters=DnsAnswerParameters,
    summary="lookups of names get other addresses or errors, in one network namespace",
    needs=("netAdmin", "nftables"),
    protocol=None,
    recovery_seconds=1.4,
    deed="while its names were answered wrongly",
    example={"names": "db.example.com", "addresses": "203.0.113.1"},
)

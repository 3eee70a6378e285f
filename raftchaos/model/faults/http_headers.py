"""http_headers: headers of HTTP messages are set or removed on their way."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.proxied import ResponseFaultParameters, Token, as_list, one_or_more

FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "expect", "trailer"})
"""Headers that say where a message ends: whoever changes them lets one message be taken for two."""


def header_value(text: str) -> str:
    """Refuse what no header can hold, or what would begin another one."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text) or not text.isascii():
        raise PydanticCustomError("rule", "visible ASCII characters")
    return text


def _no_framing(name: str) -> str:
    if name.lower() in FRAMING:
        raise PydanticCustomError("rule", "a header that does not say where a message ends (another fault does that)")
    return name


_Name = Annotated[Token, AfterValidator(_no_framing)]
_Value = Annotated[str, Field(max_length=limits.HEADER_VALUE), AfterValidator(header_value)]


class HttpHeadersParameters(ResponseFaultParameters):
    """Changes the headers of responses or requests."""

    set_headers: Annotated[dict[_Name, _Value], Field(max_length=limits.FAULT_HEADERS)] | None = Field(
        default=None, alias="set", description="Headers that the message then has once, by name, with their value."
    )
    remove: (
        Annotated[list[_Name], BeforeValidator(as_list), Field(max_length=limits.FAULT_HEADERS), one_or_more("string")]
        | None
    ) = Field(default=None, description="Name of a header that is taken away, or a list.")
    direction: Literal["downstream", "upstream"] = Field(
        default="downstream",
        description="Which messages: downstream (responses, the default) or upstream (requests).",
    )

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.set_headers and not self.remove:
            raise PydanticCustomError("rule", "set or remove, or nothing would be changed")
        return self


FAULT = FaultType(
    type="http_headers",
    kind="continuous",
    parameters=HttpHeadersParameters,
    summary="headers of HTTP messages are set or removed",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
    deed="while its headers were changed",
    example={"remove": ["Cache-Control"]},
)

"""http_corrupt: the body of an HTTP message arrives damaged, its head and its length whole."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.proxied import ResponseFaultParameters


class HttpCorruptParameters(ResponseFaultParameters):
    """Damages bodies, so that they are still received as HTTP."""

    mode: Literal["bitFlips", "randomBytes"] = Field(
        default="bitFlips",
        description="bitFlips (the default): one bit of a byte is turned; randomBytes: a byte becomes another.",
    )
    rate: Annotated[float, Field(ge=0, le=limits.DAMAGE, allow_inf_nan=False)] = Field(
        default=0.01,
        description="Part of the bytes that are damaged, 0 to 0.1, at least the first byte of each body; default 0.01.",
    )
    direction: Literal["downstream", "upstream"] = Field(
        default="downstream", description="Which bodies: downstream (of responses, the default) or upstream (requests)."
    )


FAULT = FaultType(
    type="http_corrupt",
    kind="continuous",
    parameters=HttpCorruptParameters,
    summary="bodies of HTTP messages arrive damaged",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
    deed="while its bodies were damaged",
    example={"rate": 0.01},
)

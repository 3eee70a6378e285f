"""http_abort: a proxy breaks the connection in the middle of a response's body."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.proxied import ResponseFaultParameters


class HttpAbortParameters(ResponseFaultParameters):
    """Ends the connection within the body of a response. One without a body passes."""

    after_bytes: Annotated[int, Field(ge=0, le=limits.TRAFFIC_BYTES)] | None = Field(
        default=None,
        description="So much of the body still arrives; one that is no longer passes. Absent: half of it, or, if its "
        "length is not said beforehand, what came with its head.",
    )
    ending: Literal["reset", "close"] = Field(
        default="reset", description="How the connection ends: reset (RST, the default) or close (FIN)."
    )


FAULT = FaultType(
    type="http_abort",
    kind="continuous",
    parameters=HttpAbortParameters,
    summary="the connection breaks in the middle of a response",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
    deed="while its responses broke off",
    example={"afterBytes": 100},
)

"""http_partial: a response arrives shorter than the service sent it, and looks complete."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.proxied import ResponseFaultParameters


class HttpPartialParameters(ResponseFaultParameters):
    """Shortens the body of responses; its length is said as it then is, so that only the content gives it away."""

    keep_bytes: Annotated[int, Field(ge=0, le=limits.TRAFFIC_BYTES)] | None = Field(
        default=None,
        description="So much of the body arrives; one that is no longer passes. Absent: half of it, or, if its length "
        "is not said beforehand, what came with its head.",
    )


FAULT = FaultType(
    type="http_partial",
    kind="continuous",
    parameters=HttpPartialParameters,
    summary="only the beginning of a response's body arrives, as if that were all",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
    deed="while its responses were cut short",
    example={"keepBytes": 100},
)

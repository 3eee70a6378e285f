"""http_replace: the body of responses is replaced by another one."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.http_headers import header_value
from raftchaos.model.faults.proxied import ResponseFaultParameters


class HttpReplaceParameters(ResponseFaultParameters):
    """Gives responses another body; status and other headers stay as the service sent them."""

    body: str = Field(default="", max_length=limits.FAULT_BODY, description="The new body; default: an empty one.")
    content_type: Annotated[str, Field(max_length=limits.HEADER_VALUE), AfterValidator(header_value)] | None = Field(
        default=None, description="Its type, as application/json; absent: what the service said."
    )


FAULT = FaultType(
    type="http_replace",
    kind="continuous",
    parameters=HttpReplaceParameters,
    summary="the body of HTTP responses is replaced",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
    deed="while its responses were replaced",
    example={"body": "{}"},
)

"""http_timeout: a proxy holds HTTP requests, and then says that the service did not answer (504)."""

from __future__ import annotations

from pydantic import Field

from raftchaos.model.faults.base import FaultType, Milliseconds
from raftchaos.model.faults.proxied import RequestFaultParameters


class HttpTimeoutParameters(RequestFaultParameters):
    """Lets HTTP requests wait, then answers 504 Gateway Timeout. The service never sees them."""

    hold_ms: Milliseconds = Field(
        default=30_000.0,
        description="A request waits so long for its 504, in milliseconds, 0 to 600000; default 30000.",
    )


FAULT = FaultType(
    type="http_timeout",
    kind="continuous",
    parameters=HttpTimeoutParameters,
    summary="HTTP requests through a proxy wait, and are then answered with 504",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
    deed="while its requests were held",
    example={"holdMs": 5000.0, "probability": 0.1},
)

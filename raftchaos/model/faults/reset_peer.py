"""reset_peer: a proxy resets connections (TCP RST)."""

from __future__ import annotations

from pydantic import Field

from raftchaos.model.faults.base import FaultType, Milliseconds, Probability, ProxyFaultParameters


class ResetPeerParameters(ProxyFaultParameters):
    """Resets connections through a proxy, as a service does that dies."""

    probability: Probability = Field(
        default=1.0, description="Part of the connections that are reset, above 0, at most 1; default 1."
    )
    after_ms: Milliseconds = Field(
        default=0.0,
        description="A connection lives this long under the fault before it is reset; in milliseconds, 0 to 600000; "
        "default 0: at once.",
    )


FAULT = FaultType(
    type="reset_peer",
    kind="continuous",
    parameters=ResetPeerParameters,
    summary="connections through a proxy are reset, at once or after a while",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
)

"""reset_peer: a proxy resets connections (TCP RST)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raftchaos.model.faults.base import FaultType, Milliseconds
from raftchaos.model.faults.proxied import ConnectionFaultParameters, Direction


class ResetPeerParameters(ConnectionFaultParameters):
    """Resets connections through a proxy, as a service does that dies."""

    after_ms: Milliseconds = Field(
        default=0.0,
        description="A connection lives this long under the fault before it is reset; in milliseconds, 0 to 600000; "
        "default 0: at once.",
    )
    since: Literal["open", "firstByte"] = Field(
        default="open",
        description="From when afterMs counts: open (the default): from when it opened, or the fault began if that was "
        "later; firstByte: from its first byte after that, which does not arrive any more.",
    )
    direction: Direction = Field(
        default="both",
        description="Which first byte is waited for: both (the default): the first of either; downstream (of the "
        "service) or upstream (of the client). Without firstByte it makes no difference.",
    )


FAULT = FaultType(
    type="reset_peer",
    kind="continuous",
    parameters=ResetPeerParameters,
    summary="connections through a proxy are reset, at once or after a while",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
    deed="while its connections were reset",
    example={"probability": 0.2},
)

"""dns_failure: names cannot be looked up."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.network import Hosts, NetworkPercent, PlaceParameters


class DnsFailureParameters(PlaceParameters):
    """Name servers do not answer, or cannot be reached. What is cached or stands in /etc/hosts is still found."""

    mode: Literal["timeout", "refused"] = Field(
        default="timeout",
        description="How lookups fail: timeout (answers vanish, the default) or refused (the port of the server is "
        "closed: an error at once).",
    )
    servers: Hosts = Field(
        default=None,
        description="Name servers: an IP address, a network, or a list; absent: all of them, those on loopback too.",
    )
    percent: NetworkPercent = Field(
        default=100.0, description="Part of the packets that are touched, above 0, at most 100; default 100."
    )


FAULT = FaultType(
    type="dns_failure",
    kind="continuous",
    parameters=DnsFailureParameters,
    summary="names cannot be looked up: name servers are silent or refuse",
    needs=("netAdmin", "nftables"),
    protocol=None,
    recovery_seconds=1.0,
    deed="while names could not be looked up",
    example={"mode": "timeout"},
)

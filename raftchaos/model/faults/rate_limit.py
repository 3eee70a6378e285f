"""rate_limit: a proxy answers HTTP requests that come too fast with 429."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.proxied import RequestFaultParameters, tells_clients_apart


def _per(value: str) -> str:
    if value in ("route", "proxy"):
        return value
    try:
        return tells_clients_apart(value)
    except PydanticCustomError:
        expected = "proxy, route, clientAddress, connection, header:NAME or cookie:NAME"
        raise PydanticCustomError("rule", expected) from None


class RateLimitParameters(RequestFaultParameters):
    """Lets only so many HTTP requests pass (a token bucket); the others are answered 429, with Retry-After."""

    requests_per_second: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = Field(
        description="So many requests a second pass in the long run."
    )
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1, description="So many may come at once after a pause; default 1."
    )
    per: Annotated[str, AfterValidator(_per)] = Field(
        default="clientAddress",
        description="Whose requests are counted together: those of a client (clientAddress, the default, connection, "
        "header:NAME or cookie:NAME), of a route (route: method and path) or all (proxy).",
    )


FAULT = FaultType(
    type="rate_limit",
    kind="continuous",
    parameters=RateLimitParameters,
    summary="HTTP requests that come too fast are answered with 429",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
    deed="while its requests were limited",
    example={"requestsPerSecond": 10.0},
)

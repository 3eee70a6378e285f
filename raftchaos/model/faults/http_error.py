"""http_error: a proxy answers HTTP requests with an error in place of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.proxied import ResponseFaultParameters, tells_clients_apart

DEFAULT_STATUS_CODE = 503

StatusCode = Annotated[int, Field(ge=400, le=599)]


Count = Annotated[int, Field(ge=1, le=1_000_000)]


class HttpErrorParameters(ResponseFaultParameters):
    """Answers HTTP requests with an error of the client (4xx) or of the server (5xx).

    The service never sees them, unless `match` asks for the status of its response: then that is replaced.
    """

    status_code: StatusCode | None = Field(
        default=None, description="Status of the answers, 400 to 599; default 503, unless statusCodes is given."
    )
    status_codes: list[StatusCode] | None = Field(
        default=None,
        min_length=1,
        max_length=limits.FAULT_STATUS_CODES,
        description="Statuses of the answers, each 400 to 599; each answer takes one of them by chance.",
    )
    body: str | None = Field(
        default=None,
        max_length=limits.FAULT_BODY,
        description="Text of the answers; absent: a line that names raftchaos.",
    )
    pattern: Literal["random", "burst", "sequential"] = Field(
        default="random",
        description="Which of the requests: random (the default): each by probability; burst: each begins by "
        "probability a burst of errorsInRow; sequential: the first errorsInRow of each client, then none.",
    )
    errors_in_row: Count = Field(
        default=3, description="Errors one after the other, for burst and sequential; default 3."
    )
    passes_in_row: Count | None = Field(
        default=None,
        description="For sequential: after so many requests that pass the errors begin again; absent: they never do.",
    )
    per: Annotated[str, AfterValidator(tells_clients_apart)] = Field(
        default="clientAddress",
        description="What is a client, for sequential: clientAddress (the default), connection, header:NAME or "
        "cookie:NAME.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_status(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("statusCode") is None and data.get("statusCodes") is None:
            return {**data, "statusCode": DEFAULT_STATUS_CODE}
        return data

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        """Of the two ways to give the status exactly one stands in the result, so that readers need no rule."""
        if self.status_code is not None and self.status_codes is not None:
            raise PydanticCustomError("rule", "statusCode or statusCodes, not both")
        if self.passes_in_row is not None and self.pattern != "sequential":
            raise PydanticCustomError("rule", "passesInRow only with pattern: sequential")
        return self

    @classmethod
    def merged(cls, defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
        """A step that gives a status, in either way, takes the place of those of the scenario."""
        ways = {"statusCode", "statusCodes"}
        if ways & overrides.keys():
            defaults = {key: value for key, value in defaults.items() if key not in ways}
        return {**defaults, **overrides}

    def codes(self) -> list[int]:
        """All statuses that an answer may have."""
        return list(self.status_codes) if self.status_codes else [self.status_code or DEFAULT_STATUS_CODE]


FAULT = FaultType(
    type="http_error",
    kind="continuous",
    parameters=HttpErrorParameters,
    summary="HTTP requests through a proxy are answered with an error in place of the service",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
    deed="while its requests were answered with errors",
    example={"statusCode": 503, "probability": 0.2},
)

"""http_error: a proxy answers HTTP requests with an error; the service behind it never sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultType, Probability, ProxyFaultParameters

DEFAULT_STATUS_CODE = 503

StatusCode = Annotated[int, Field(ge=400, le=599)]


class HttpErrorParameters(ProxyFaultParameters):
    """Answers HTTP requests with an error of the client (4xx) or of the server (5xx)."""

    status_code: StatusCode | None = Field(
        default=None, description="Status of the answers, 400 to 599; default 503, unless statusCodes is given."
    )
    status_codes: list[StatusCode] | None = Field(
        default=None,
        min_length=1,
        max_length=limits.FAULT_STATUS_CODES,
        description="Statuses of the answers, each 400 to 599; each answer takes one of them by chance.",
    )
    probability: Probability = Field(
        default=1.0, description="Part of the requests that are answered so, above 0, at most 1; default 1."
    )
    body: str | None = Field(
        default=None,
        max_length=limits.FAULT_BODY,
        description="Text of the answers; absent: a line that names raftchaos.",
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
    summary="HTTP requests through a proxy are answered with an error and never reach the service",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
)

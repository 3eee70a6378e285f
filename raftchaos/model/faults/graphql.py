"""graphql: responses to GraphQL operations carry errors, or a field that is null."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.proxied import Globs, RequestFaultParameters, as_list

_PATH = re.compile(r"[_A-Za-z][_0-9A-Za-z]*(\.[_A-Za-z][_0-9A-Za-z]*)*")


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise PydanticCustomError("rule", "names of fields with dots between them, as user.orders.total")
    return text


class GraphqlParameters(RequestFaultParameters):
    """Changes the responses to GraphQL operations (JSON over HTTP). The service has carried the operation out."""

    operation: Annotated[Globs, BeforeValidator(as_list)] | None = Field(
        default=None,
        description="Name of an operation, or a list; * is any characters; absent: all, also those without one.",
    )
    null_field: Annotated[str, Field(max_length=limits.MATCH_TEXT), AfterValidator(_path)] | None = Field(
        default=None,
        description="Path of a field that is null in the response, as user.orders.total (in a list, of each entry); "
        "absent: the response carries an error and no data.",
    )
    message: str = Field(
        default="raftchaos: this error was injected by an experiment",
        max_length=limits.HEADER_VALUE,
        description="Text of the error; default: a line that names raftchaos.",
    )
    code: Annotated[str, Field(max_length=limits.NAME)] | None = Field(
        default=None, description="What extensions.code of the error says, as INTERNAL_SERVER_ERROR; absent: nothing."
    )

    @model_validator(mode="after")
    def _error_or_null(self) -> Self:
        if self.null_field is not None and self.code is not None:
            raise PydanticCustomError("rule", "nullField or code: a null field comes without an error")
        return self


FAULT = FaultType(
    type="graphql",
    kind="continuous",
    parameters=GraphqlParameters,
    summary="GraphQL operations are answered with errors, or with a field that is null",
    needs=("proxy",),
    protocol="http",
    recovery_seconds=0.5,
    deed="while its operations failed",
    example={"operation": "Checkout"},
)

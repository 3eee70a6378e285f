"""What all parts of a document have in common, and the mark of fields whose behaviour does not exist yet."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from raftchaos import limits


class DocumentPart(BaseModel):
    """A mapping of a document: camelCase fields, no others, nothing converted ("5" is no number, 1 is no boolean)."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


def not_yet(default: Any) -> BeforeValidator:
    """The mark of a field that is part of the language and has no behaviour yet: only its default value is taken."""

    def only_the_default(value: Any) -> Any:
        if type(value) is not type(default) or value != default:
            shown = json.dumps(default)
            raise PydanticCustomError("not_yet", "{shown} (anything else is not supported yet)", {"shown": shown})
        return value

    return BeforeValidator(only_the_default)


Description = Annotated[str, Field(max_length=limits.DESCRIPTION)]
"""Free text for people."""

Duration = Annotated[float, Field(gt=0, le=limits.STEP_DURATION, allow_inf_nan=False)]
"""Seconds, above 0, at most a day."""

Delay = Annotated[float, Field(ge=0, le=limits.STEP_DURATION, allow_inf_nan=False)]
"""Seconds, from 0 to a day."""

Percent = Annotated[int, Field(ge=1, le=100)]
"""A whole number from 1 to 100."""

NodeCount = Annotated[int, Field(ge=1, le=limits.NODES)]
"""How many nodes: at least one."""

"""What all findings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Finding(BaseModel):
    """Something that analytics says: camelCase in JSON, no fields but its own, never changed once said."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

"""slicer: a proxy relays data in small pieces, with pauses between them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos.model.faults.base import FaultType, Milliseconds
from raftchaos.model.faults.proxied import ConnectionFaultParameters, Direction

_Size = Annotated[int, Field(ge=1, le=64 * 1024)]


class SlicerParameters(ConnectionFaultParameters):
    """Cuts the data that flows through a proxy, for readers that expect a whole message in one read."""

    average_bytes: _Size = Field(default=64, description="Size of a piece, 1 to 65536 bytes; default 64.")
    variation_bytes: Annotated[int, Field(ge=0, le=64 * 1024)] = Field(
        default=0,
        description="Sizes are drawn evenly from averageBytes - variationBytes to averageBytes + variationBytes; "
        "smaller than averageBytes; default 0.",
    )
    delay_ms: Milliseconds = Field(
        default=1.0, description="Pause before each piece, in milliseconds, 0 to 600000; default 1."
    )
    direction: Direction = Field(
        default="downstream", description="Which data is cut: downstream (the default), upstream, or both."
    )

    @model_validator(mode="after")
    def _pieces_have_a_size(self) -> Self:
        if self.variation_bytes >= self.average_bytes:
            raise PydanticCustomError("rule", "variationBytes smaller than averageBytes")
        return self


FAULT = FaultType(
    type="slicer",
    kind="continuous",
    parameters=SlicerParameters,
    summary="data through a proxy arrives in small pieces",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
    deed="while its data was cut into pieces",
    example={"averageBytes": 16},
)

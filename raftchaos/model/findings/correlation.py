"""Two metrics that move together."""

from __future__ import annotations

from pydantic import Field

from raftchaos.model.findings.finding import Finding


class Correlation(Finding):
    """`second` follows `first` by `lag_seconds` (0: at once; the earlier of the two is always named first)."""

    first: str
    second: str
    lag_seconds: float = Field(ge=0)
    coefficient: float = Field(ge=-1, le=1, description="Of what neither series' own past explains, at this lag.")
    p_value: float = Field(ge=0, le=1, description="Corrected for the lags that were tried and the number of pairs.")
    points: int = Field(ge=0, description="Pairs of values that it rests on.")
    interpretation: str

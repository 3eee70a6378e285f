"""What to do about where a metric is going."""

from __future__ import annotations

from pydantic import Field

from raftchaos.model.findings.finding import Finding


class Insight(Finding):
    """A prediction that can be checked: it says what, until when, how sure, and what to do."""

    metric: str
    made_at: float = Field(description="Seconds since the epoch: the end of the last reading that it knows.")
    due_at: float = Field(description="Seconds since the epoch: the start of the reading that is predicted.")
    horizon_seconds: float = Field(gt=0)
    predicted: float
    low: float = Field(description="Lower end of the 95 % interval.")
    high: float = Field(description="Upper end of the 95 % interval.")
    limit: float | None = None
    crossing_probability: float | None = Field(default=None, ge=0, le=1, description="Of any reading until then.")
    crossing_at: float | None = Field(default=None, description="When half of the paths that cross have crossed.")
    recommendation: str
    actual: float | None = Field(default=None, description="What it was, once due.")
    error_ratio: float | None = Field(
        default=None, ge=0, description="|actual − predicted| / half the width of the interval: above 1 it was missed."
    )

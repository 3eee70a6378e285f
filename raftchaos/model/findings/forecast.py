"""What a metric is expected to do next."""

from __future__ import annotations

from pydantic import Field

from raftchaos.model.findings.finding import Finding


class Expected(Finding):
    """One reading to come."""

    at: float = Field(description="Seconds since the epoch: the start of its step.")
    value: float = Field(description="As many readings are expected above it as below.")
    low80: float
    high80: float
    low95: float
    high95: float
    naive: float = Field(description="The reading one season ago, or the last one: what the forecast is to beat.")


class Forecast(Finding):
    """The next readings of a metric, each with the intervals that hold it with 80 and 95 %."""

    metric: str
    step_seconds: float = Field(gt=0)
    periods: tuple[int, ...] = Field(description="Seasons that were found, in steps.")
    models: str = Field(description="Which models were combined, with their weights.")
    expected: tuple[Expected, ...]
    notes: tuple[str, ...] = Field(default=(), description="What was done about gaps, and what else is to be known.")
    failures: dict[str, str] = Field(default_factory=dict, description="Why a model is not among them.")

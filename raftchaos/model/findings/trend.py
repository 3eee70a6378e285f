"""Where a metric is going."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raftchaos.model.findings.finding import Finding

Direction = Literal["increasing", "decreasing", "stable", "volatile", "unknown"]


class ChangePoint(Finding):
    """A moment from which the level or the slope was another."""

    at: float = Field(description="Seconds since the epoch.")
    before: float = Field(description="Median of the part before it.")
    after: float = Field(description="Median of the part after it.")


class Trend(Finding):
    """The direction of a metric over a window, how fast, and how sure that is."""

    metric: str
    direction: Direction
    confidence: float = Field(ge=0, le=1, description="Probability that the direction is right; 0 where it is unknown.")
    rate_per_hour: float = Field(description="Median of the slopes between all pairs of readings (Theil–Sen).")
    rate_low: float = Field(description="Lower end of its 95 % interval.")
    rate_high: float = Field(description="Upper end of its 95 % interval.")
    p_value: float = Field(ge=0, le=1, description="Of no trend, two-sided, by the test that decided.")
    test: Literal["generalisedLeastSquares", "mannKendall", "none"]
    swing: float = Field(ge=0, description="Standard deviation about the trend as a share of the median.")
    readings: int = Field(ge=0, description="That the test saw, after putting neighbours of a long series together.")
    independent: float = Field(ge=0, description="So many independent readings say as much.")
    change_points: tuple[ChangePoint, ...] = ()
    sentence: str

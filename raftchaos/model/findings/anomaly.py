"""Something unusual, from its beginning to its end."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from raftchaos.model.findings.finding import Finding


class AnomalyType(StrEnum):
    """The six kinds of anomaly; `docs/analytics.md` defines each."""

    EVENT_SPIKE = "event_spike"
    UNEXPECTED_QUIET = "unexpected_quiet"
    LATENCY = "latency_anomaly"
    HIGH_ERROR_RATE = "high_error_rate"
    RESOURCE_EXHAUSTION = "resource_exhaustion"
    CASCADING_FAILURE = "cascading_failure"


class Anomaly(Finding):
    """One incident: it is opened, updated while it lasts, and closed. Times are seconds since the epoch."""

    id: str
    type: AnomalyType
    metric: str
    node: str = ""
    service: str = ""
    opened_at: float
    updated_at: float
    closed_at: float | None = None
    severity: float = Field(ge=0, le=1, description="The worst so far: 0 as usual, 0.5 twice as bad, 1 nothing left.")
    expected: bool = Field(description="Whether faults that were on explain all of it.")
    explained_by: tuple[str, ...] = Field(default=(), description="The faults that were on where it was seen.")
    affected: tuple[str, ...] = Field(default=(), description="Metrics, or services of a cascade, in order.")
    evidence: dict[str, float | str] = Field(default_factory=dict, description="The numbers at its worst.")
    actions: tuple[str, ...] = Field(default=(), description="What to look at first.")

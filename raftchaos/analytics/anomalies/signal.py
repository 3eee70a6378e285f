"""What a watch says about one moment: that something is unusual, by how much, and why it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from raftchaos.model.findings.anomaly import AnomalyType


@dataclass(frozen=True, slots=True)
class Signal:
    """An anomaly as seen at `time` (seconds since the epoch). `since` is when it began, as far as that can be told.

    `severity` is the part of what is usual that is lost: 0 as usual, 0.5 twice as bad, 1 nothing is left.
    """

    type: AnomalyType
    metric: str
    time: float
    severity: float
    evidence: Mapping[str, float | str]
    since: float | None = None
    affected: tuple[str, ...] = field(default=())


def excess(ratio: float) -> float:
    """The severity of something that is `ratio` times as large as usual: 1 - 1 / ratio, 0 below 1."""
    return 1 - 1 / ratio if ratio > 1 else 0.0

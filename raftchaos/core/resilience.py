"""The resilience score of a service: what its experiments have shown, and how long ago.

    score = 100 · Σ credit / number of its experiments
    credit of a pass = 2^(−max(0, age − FRESH) / HALF_LIFE), of everything else 0

Each experiment counts once, with its latest verdict. What failed, was inconclusive or was never run earns nothing but
counts in the number, so the score is never above 100 and not running an experiment never raises it. What passed two
months ago is worth less than what passed last week: systems change (radioactive decay, as in the ageing of evidence of
software reliability models).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

DAY: Final = 86_400.0
FRESH: Final = 7 * DAY
"""So long a pass counts in full, in seconds."""
HALF_LIFE: Final = 30 * DAY
"""After each such time beyond that it counts half, in seconds."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment of a service with its latest end."""

    name: str
    verdict: str | None
    """passed, failed or inconclusive; None if it was never run to an end."""
    ended_at: float = 0.0
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ResilienceScore:
    """How much of what was planned for a service was shown to hold, 0 to 100."""

    service: str
    score: float
    passed: int
    failed: int
    unproven: int
    """Experiments that were inconclusive or never run."""
    credits: tuple[tuple[str, float], ...]
    """What each experiment earns, 0 to 1, by name."""


def credit(experiment: Experiment, now: float) -> float:
    """What an experiment earns at `now`, 0 to 1. An end in the future counts as one of now: clocks differ."""
    if experiment.verdict != "passed":
        return 0.0
    return math.pow(2.0, -max(0.0, now - experiment.ended_at - FRESH) / HALF_LIFE)


def resilience(service: str, experiments: Sequence[Experiment], now: float) -> ResilienceScore | None:
    """The score of a service at `now`, seconds since the epoch. None if there is no experiment of it.

    Raises `ValueError` if an experiment stands there twice: only its latest verdict counts.
    """
    if not experiments:
        return None
    names = [experiment.name for experiment in experiments]
    if len(set(names)) < len(names):
        raise ValueError(f"found an experiment of {service} more than once, expected each with its latest verdict")
    earned = sorted((experiment.name, credit(experiment, now)) for experiment in experiments)
    verdicts = [experiment.verdict for experiment in experiments]
    return ResilienceScore(
        service=service,
        score=100.0 * sum(amount for _, amount in earned) / len(earned),
        passed=verdicts.count("passed"),
        failed=verdicts.count("failed"),
        unproven=len(verdicts) - verdicts.count("passed") - verdicts.count("failed"),
        credits=tuple(earned),
    )

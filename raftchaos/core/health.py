"""The health score of a target: plain arithmetic that main does alone.

    score = 100 − Σ loss,   loss of a component = weight · (100 − points) / Σ weights of the components that are known

A component that nobody can tell is left out and the weights of the others are rescaled, so that not knowing neither
heals nor harms. The points of each are a straight line between a value at which nothing is lost and one at which
everything is (`SCALES`), as error budgets and saturation limits are (Google, *Site Reliability Engineering*, chapters
4 and 6). All amounts are counted in hundredths of a point, as whole numbers, so that the factors add up exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HUNDREDTHS: Final = 100 * 100
"""A whole score in hundredths of a point."""


TOTAL: Final = "total"
"""In place of a component: the whole score."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How a measurement becomes points: 100 up to `good`, 0 from `bad` on, a straight line between."""

    weight: int
    good: float
    bad: float
    meaning: str
    """What is measured, for a person."""

    def points(self, value: float) -> float:
        """0 to 100."""
        return 100.0 * min(1.0, max(0.0, (self.bad - value) / (self.bad - self.good)))


SCALES: Final[Mapping[str, Scale]] = {
    "availability": Scale(30, 1.0, 0.95, "share of attempts to reach the target that reached it"),
    "errors": Scale(25, 0.001, 0.10, "share of requests that were answered with an error"),
    "latency": Scale(20, 1.2, 5.0, "95th percentile of latency as a multiple of the usual one"),
    "saturation": Scale(10, 0.70, 1.0, "fullest of processor, memory, disk and descriptors, as a share"),
    "anomalies": Scale(10, 0.0, 1.0, "severity of the worst open anomaly that no fault explains"),
    "recovery": Scale(5, 0.0, 1.0, "share of recent recoveries that failed or came too late"),
}
"""The components by name; weights add up to 100."""


@dataclass(frozen=True, slots=True)
class Factor:
    """What one component takes from the score."""

    component: str
    value: float
    """The measurement, in the unit that `Scale.meaning` says."""
    points: float
    """What it is worth, 0 to 100."""
    weight: float
    """Its share of the score, 0 to 1, after the unknown ones were left out."""
    impact: float
    """Points it adds to 100, so 0 or less, in whole hundredths."""


@dataclass(frozen=True, slots=True)
class HealthScore:
    """The health of a target, 0 to 100: exactly 100 plus the impacts of its factors."""

    target: str
    score: float
    factors: tuple[Factor, ...]
    """By impact, the worst first."""
    unknown: tuple[str, ...]
    """Components that nobody could tell."""


def score(target: str, measured: Mapping[str, float]) -> HealthScore | None:
    """The health of `target` by the measurements that there are, by component; those that are no number are unknown.

    None if nothing is known: that is no health, neither good nor bad. Raises `KeyError` for an unknown component.
    """
    values = {name: value for name, value in measured.items() if not math.isnan(value)}
    total = sum(SCALES[name].weight for name in values)
    if not values:
        return None
    points = {name: SCALES[name].points(value) for name, value in values.items()}
    losses = {name: round(SCALES[name].weight * (100.0 - points[name]) * 100 / total) for name in values}
    # rounding each loss may take a hundredth too many from a score of which nothing is left
    excess = max(0, sum(losses.values()) - HUNDREDTHS)
    if excess:
        losses[max(losses, key=lambda name: losses[name])] -= excess
    factors = [
        Factor(name, values[name], points[name], SCALES[name].weight / total, -losses[name] / 100) for name in values
    ]
    return HealthScore(
        target=target,
        score=(HUNDREDTHS - sum(losses.values())) / 100,
        factors=tuple(sorted(factors, key=lambda factor: (factor.impact, factor.component))),
        unknown=tuple(name for name in SCALES if name not in values),
    )


def worst(scores: Mapping[str, HealthScore | None]) -> HealthScore | None:
    """The least healthy of the targets; of equal ones the first by name. None if one of them has no health: of a
    target that nobody sees, nobody can say that it is well. None, too, if there are no targets.
    """
    known = [found for found in scores.values() if found is not None]
    if not known or len(known) < len(scores):
        return None
    return min(known, key=lambda found: (found.score, found.target))

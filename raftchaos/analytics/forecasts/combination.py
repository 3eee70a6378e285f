"""Several models as one: weighted by how wrong each was, with intervals as wide as they had to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from raftchaos.analytics.series import Floats

ORIGINS = 40  # moments of the past from which each model is tried
TRAINED = 0.65  # share of the readings that coefficients are estimated on for that
LEAST_DUE = 8  # errors that must have come due before they widen an interval
NAIVE = "naive"


class Member(Protocol):
    """A fitted model."""

    def predict(self, horizon: int) -> tuple[Floats, Floats]: ...
    def deviations(self, horizon: int) -> Floats: ...
    def from_origins(self, origins: Any, horizon: int) -> Floats: ...
    def updated(self, values: Floats) -> Member: ...
    def trained_on(self, values: Floats) -> Member: ...


@dataclass(frozen=True, eq=False)
class Tried:
    """What models said in the past about what has come since, on the scale on which they are fitted."""

    said: dict[str, Floats]
    """By model, a row an origin, a column a step."""
    deviations: dict[str, Floats]
    truth: Floats
    """NaN where it has not come."""

    def error(self, name: str) -> float:
        """Mean square of the errors of one model."""
        return float(np.nanmean((self.said[name] - self.truth) ** 2))

    def scores(self, weights: Mapping[str, float]) -> Floats:
        """|error|/deviation of the combination, of all that has come due."""
        said = sum(weight * self.said[name] for name, weight in weights.items())
        deviation = sum(weight * self.deviations[name] for name, weight in weights.items())
        found = np.abs(self.truth - said) / np.maximum(deviation, 1e-300)
        return np.sort(found[np.isfinite(found)])


def try_past(
    members: Mapping[str, Member], values: Floats, season: int, horizon: int, failed: Callable[[str, str], None]
) -> Tried:
    """Has each model forecast from up to 40 moments of the last third, with coefficients of what was known before
    these.

    The orders are those chosen on everything. `failed` is told a model's name and why it could not be tried.
    """
    count = len(values)
    known = min(max(int(TRAINED * count), min(count - LEAST_DUE, 3 * season + 10)), count - 1)
    origins = np.unique(np.linspace(known, count - 1, ORIGINS).astype(int))
    truth = np.full((len(origins), horizon), np.nan)
    for row, origin in enumerate(origins):
        truth[row, : count - origin] = values[origin : origin + horizon]
    said, deviations = {}, {}
    for name, member in members.items():
        try:
            trained = member.trained_on(values[:known])
            deviations[name] = trained.deviations(horizon)
            said[name] = trained.updated(values).from_origins(origins, horizon)
        except (ValueError, IndexError, np.linalg.LinAlgError, ZeroDivisionError) as error:
            failed(name, str(error))
    return Tried(said, deviations, truth)


def weigh(tried: Tried) -> dict[str, float]:
    """Weights by 1/(mean squared error)² (Bates & Granger 1969; the power as Stock & Watson 2004, as plain 1/MSE
    leaves too much to a model that was twice as wrong). The naive counts only where no model was better."""
    errors = {name: tried.error(name) for name in tried.said}
    models = {name: error for name, error in errors.items() if name != NAIVE and np.isfinite(error)}
    if NAIVE in errors and errors[NAIVE] < min(models.values(), default=np.inf):
        models[NAIVE] = errors[NAIVE]
    if not models:
        return {NAIVE: 1.0}
    least = max(min(models.values()), 1e-300)
    inverse = {name: (least / max(error, least)) ** 2 for name, error in models.items()}
    total = sum(inverse.values())
    return {name: value / total for name, value in inverse.items()}


def width(scores: Sequence[float] | Floats, level: float) -> float:
    """How many deviations an interval reaches to each side: those of a normal distribution, or more if that was too
    few.

    The conformal quantile of the scores, the ⌈(n + 1) level⌉th of n (Vovk et al. 2005; Lei et al. 2018), once eight
    have come due.
    """
    from scipy.stats import norm

    normal = float(norm.ppf(0.5 + level / 2))
    count = len(scores)
    if count < LEAST_DUE:
        return normal
    place = min(int(np.ceil((count + 1) * level)), count) - 1
    return max(normal, float(np.sort(scores)[place]))

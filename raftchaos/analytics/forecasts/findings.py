"""Forecasts in words and data: the finding, the insight that it gives rise to, and how right that was."""

from __future__ import annotations

import math

from raftchaos.analytics.forecasts.forecast import Model, Told
from raftchaos.model.findings.forecast import Expected, Forecast
from raftchaos.model.findings.insight import Insight

CERTAIN, LIKELY, POSSIBLE = 0.95, 0.5, 0.1  # probabilities of crossing a limit from which the recommendation changes


def finding(metric: str, model: Model, told: Told) -> Forecast:
    """A forecast as data."""
    low80, high80 = told.interval(0.8)
    low95, high95 = told.interval(0.95)
    rows = zip(told.times, told.mean, low80, high80, low95, high95, told.naive, strict=True)
    names = ("at", "value", "low80", "high80", "low95", "high95", "naive")
    return Forecast(
        metric=metric,
        step_seconds=model.step,
        periods=model.periods,
        models=model.words,
        expected=tuple(Expected(**dict(zip(names, map(float, row), strict=True))) for row in rows),
        notes=model.notes,
        failures=model.failures,
    )


def insight(metric: str, told: Told, *, limit: float | None = None, above: bool = True, seed: int = 0) -> Insight:
    """What the end of the forecast says, and what to do about it.

    With a limit: the probability that any reading until then is above (below) it, and when (`Told.crossing`).
    """
    low, high = told.interval(0.95)
    step = float(told.times[1] - told.times[0]) if len(told.times) > 1 else 1.0
    probability, crossing_at = (None, None)
    if limit is not None:
        probability, crossing_at = told.crossing(limit, above=above, seed=seed)
    made, due = float(told.times[0]), float(told.times[-1])
    predicted = float(told.mean[-1])
    return Insight(
        metric=metric,
        made_at=made,
        due_at=due,
        horizon_seconds=due - made + step,
        predicted=predicted,
        low=float(low[-1]),
        high=float(high[-1]),
        limit=limit,
        crossing_probability=probability,
        crossing_at=crossing_at,
        recommendation=_recommendation(metric, predicted, (limit, above), probability, (crossing_at, made)),
    )


def settled(made: Insight, actual: float) -> Insight:
    """The insight once its time has come: |actual − predicted|/half the width of the 95 % interval; above 1 it was
    missed."""
    half = (made.high - made.low) / 2
    distance = abs(actual - made.predicted)
    ratio = distance / half if half > 0 else (0.0 if distance == 0 else math.inf)
    return made.model_copy(update={"actual": actual, "error_ratio": min(ratio, 1e9)})


def _recommendation(
    metric: str,
    predicted: float,
    line: tuple[float | None, bool],
    probability: float | None,
    when: tuple[float | None, float],
) -> str:
    limit, above = line
    if limit is None or probability is None:
        return f"{metric} is expected at {predicted:.4g}; give a limit to know whether that is a matter"
    side = "above" if above else "below"
    crossing_at, made = when
    if probability < POSSIBLE or crossing_at is None:
        return f"nothing to do: {metric} stays on its side of {limit:g} ({_sure(1 - probability)} sure)"
    soon = duration(crossing_at - made)
    if probability >= CERTAIN:
        return f"act now: {metric} will be {side} {limit:g} in about {soon} ({_sure(probability)} sure)"
    if probability >= LIKELY:
        return f"plan for it: {metric} is likely to be {side} {limit:g}, in about {soon} ({probability:.0%})"
    return f"watch {metric}: it may be {side} {limit:g}, in about {soon} at the earliest guess ({probability:.0%})"


def _sure(probability: float) -> str:
    return "more than 99 %" if probability > 0.99 else f"{probability:.0%}"


def duration(seconds: float) -> str:
    """`90 s`, `15 min`, `7 h`, `12 d`."""
    for bound, unit, size in ((120.0, "s", 1.0), (7_200.0, "min", 60.0), (172_800.0, "h", 3_600.0)):
        if seconds < bound:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"

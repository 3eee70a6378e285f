"""Which metrics move together, and which one first.

Two series that wander correlate whether or not they have to do with each other. So each is first reduced to what its
own past does not explain (an autoregression, its order by AIC), and only that is correlated: for independent series the
coefficient at any lag is then normal with variance 1/n (Haugh 1976, *Checking the independence of two
covariance-stationary time series*, JASA 71). The p-value of a pair is that of its strongest lag, corrected for the lags
tried (Šidák 1967) and then for the number of pairs (Holm 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np

from raftchaos.analytics.series import Floats, Series
from raftchaos.errors import UsageError
from raftchaos.model.findings.correlation import Correlation

LEAST_POINTS: Final = 40
"""Fewer pairs of values than this say nothing about any lag."""
MOST_POINTS: Final = 20_000
"""Of longer series the newest part is taken."""
MOST_METRICS: Final = 64
MOST_ORDER: Final = 12


class _Pair(NamedTuple):
    first: str
    second: str
    lag: int
    coefficient: float
    p_value: float
    points: int


def correlations(metrics: Mapping[str, Series], max_lag: int, significance: float = 0.05) -> tuple[Correlation, ...]:
    """The pairs of metrics that move together at a lag of at most `max_lag` steps, the surest first.

    Metrics that never change, or share too few points with others, are in no pair. Raises UsageError for series of
    different steps, more than 64 of them, or a lag outside 0 to a quarter of the points.
    """
    if len({series.step for series in metrics.values()}) > 1 or len(metrics) > MOST_METRICS:
        raise UsageError(
            f"found {len(metrics)} series of steps {sorted({series.step for series in metrics.values()})} s, "
            f"expected at most {MOST_METRICS} of one step"
        )
    if not metrics:
        return ()
    step, rows = _aligned(metrics)
    shortest = min(len(row) for row in rows.values())
    if not 0 <= max_lag <= max(0, shortest // 4):
        raise UsageError(f"found a lag of {max_lag} steps, expected 0 to a quarter of the {shortest} points")
    white = {name: whitened(row) for name, row in sorted(rows.items())}
    pairs = [pair for one, two in combinations(white, 2) if (pair := _strongest(white, one, two, max_lag)) is not None]
    return tuple(_finding(pair, p_value, step) for pair, p_value in _holm(pairs) if p_value < significance)


def whitened(values: Floats) -> Floats:
    """What an autoregression on its own past does not explain of a series, NaN where that is not known.

    The order, up to 12, has the least AIC of least-squares fits (Brockwell & Davis, *Time Series*, 9.2). A series that
    never changes gives only NaN.
    """
    known = values[~np.isnan(values)]
    if len(known) < LEAST_POINTS or np.ptp(known) <= 1e-12 * max(1.0, float(np.abs(known).max())):
        return np.full(len(values), np.nan)
    centred = (values - known.mean()) / known.std()
    most = min(MOST_ORDER, len(known) // 10)
    lagged = np.column_stack([np.ones(len(centred)), *(_shifted(centred, lag) for lag in range(1, most + 1))])
    whole = ~np.isnan(lagged).any(axis=1) & ~np.isnan(centred)
    if whole.sum() < LEAST_POINTS:
        return np.full(len(values), np.nan)
    best, chosen = math.inf, lagged[:, :1] @ np.zeros(1)
    for order in range(most + 1):
        design = lagged[:, : order + 1]
        weights = np.linalg.lstsq(design[whole], centred[whole], rcond=None)[0]
        left = centred - design @ weights
        variance = float(np.mean(left[whole] ** 2))
        criterion = whole.sum() * math.log(max(variance, 1e-300)) + 2 * (order + 1)
        if criterion < best:
            best, chosen = criterion, left
    return np.asarray(chosen, dtype=np.float64)


def _shifted(values: Floats, lag: int) -> Floats:
    """The series as it was `lag` steps before."""
    return np.concatenate([np.full(lag, np.nan), values[:-lag]])


def _aligned(metrics: Mapping[str, Series]) -> tuple[float, dict[str, Floats]]:
    """The values of all over the time that they share, at most the newest `MOST_POINTS`."""
    step = next(iter(metrics.values())).step
    start = max(float(series.times[0]) if len(series) else math.inf for series in metrics.values())
    end = min(float(series.times[-1]) if len(series) else -math.inf for series in metrics.values()) + step / 2
    rows = {name: series.between(start - step / 2, end).values for name, series in metrics.items()}
    length = min(MOST_POINTS, *(len(row) for row in rows.values())) if len(rows) > 1 else 0
    return step, {name: row[len(row) - length :] for name, row in rows.items()}


def _strongest(white: Mapping[str, Floats], one: str, two: str, max_lag: int) -> _Pair | None:
    """The lag at which two whitened series are furthest from independent, in standard deviations."""
    best: _Pair | None = None
    furthest = -1.0
    for lag in range(-max_lag, max_lag + 1):
        first, second = (one, two) if lag >= 0 else (two, one)
        early, late = white[first], white[second]
        early, late = early[: len(early) - abs(lag)], late[abs(lag) :]
        both = ~np.isnan(early) & ~np.isnan(late)
        points = int(both.sum())
        if points < LEAST_POINTS:
            continue
        coefficient = float(np.corrcoef(early[both], late[both])[0, 1])
        if math.isnan(coefficient):
            continue
        distance = abs(coefficient) * math.sqrt(points)
        if distance > furthest:
            furthest = distance
            alone = math.erfc(distance / math.sqrt(2))
            corrected = -math.expm1((2 * max_lag + 1) * math.log1p(-min(alone, 1 - 1e-16)))
            best = _Pair(first, second, abs(lag), max(-1.0, min(1.0, coefficient)), corrected, points)
    return best


def _holm(pairs: Sequence[_Pair]) -> list[tuple[_Pair, float]]:
    """Each pair with its p-value corrected for their number, ascending."""
    told, floor = [], 0.0
    ranked = sorted(pairs, key=lambda pair: (pair.p_value, pair.first, pair.second))
    for rank, pair in enumerate(ranked):
        floor = max(floor, min(1.0, pair.p_value * (len(ranked) - rank)))
        told.append((pair, floor))
    return told


def _finding(pair: _Pair, p_value: float, step: float) -> Correlation:
    lag = pair.lag * step
    strength = "strongly" if abs(pair.coefficient) >= 0.6 else "clearly" if abs(pair.coefficient) >= 0.3 else "weakly"
    way = "rises" if pair.coefficient > 0 else "falls"
    when = "at the same time" if lag == 0 else f"{lag:g} s later"
    return Correlation(
        first=pair.first,
        second=pair.second,
        lag_seconds=lag,
        coefficient=pair.coefficient,
        p_value=p_value,
        points=pair.points,
        interpretation=f"When {pair.first} rises, {pair.second} {strength} {way} {when} "
        f"(correlation {pair.coefficient:+.2f}, p = {p_value:.2g}). That is no proof that one causes the other.",
    )

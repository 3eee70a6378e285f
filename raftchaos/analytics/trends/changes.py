"""Where a series changed: level or slope, told from the wandering that neighbours' likeness makes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from raftchaos.analytics.series import Floats
from raftchaos.analytics.trends.dependence import HIGHEST

SHORTEST = 8  # readings of one part
_PENALTY = 4.0  # times log n for each further part: 2 for its line, 1 for its place, 1 since ρ and σ are estimates
_WINDOW = 9  # readings of the running median
_OUTLIER = 3.0  # deviations: further from the running median a reading is drawn in
_MAD = 1.4826


def change_points(values: Floats) -> list[int]:
    """The first readings of each part but the first, found by optimal partitioning.

    The readings are whitened, yₜ − ρ yₜ₋₁, with an estimate of ρ that changes do not disturb; each part is a straight
    line. The parts minimise Σ squared residuals/σ² + 4 log n a part (Jackson et al. 2005; the penalised cost of
    Killick et al. 2012). A straight trend has no change point. O(n²) in at most 1440 readings; no gaps.
    """
    count = len(values)
    if count < 3 * SHORTEST or np.ptp(values) == 0:
        return []
    rho = steady_rho(values)
    white = _tamed(values[1:] - rho * values[:-1])
    deviation = _deviation(np.diff(white)) / np.sqrt(2)
    if deviation <= 0:
        return []
    return _confirmed(values, [place + 1 for place in _partition(white / deviation, _PENALTY * np.log(count))])


def _confirmed(values: Floats, found: list[int]) -> list[int]:
    """The change points without which the series is described worse: n log Σ e² + 4 log n a point, where ρ is estimated
    anew for each set of points. What a low ρ took for a change is thus told from wandering with a high one."""
    best = _criterion(values, found)
    while found:
        fewer = min(
            ([*found[:at], *found[at + 1 :]] for at in range(len(found))), key=lambda one: _criterion(values, one)
        )
        if _criterion(values, fewer) > best:
            break
        found, best = fewer, _criterion(values, fewer)
    return found


def _criterion(values: Floats, found: list[int]) -> float:
    count = len(values)
    rest = values.copy()
    bounds = [0, *found, count]
    for begin, end in itertools.pairwise(bounds):
        place = np.arange(end - begin) - (end - begin - 1) / 2
        slope = float(place @ rest[begin:end]) / float(place @ place)
        rest[begin:end] -= rest[begin:end].mean() + slope * place
    square = float(rest @ rest)
    rho = float(rest[1:] @ rest[:-1]) / square if square > 0 else 0.0
    errors = rest[1:] - rho * rest[:-1]
    return count * float(np.log(errors @ errors + 1e-300)) + _PENALTY * float(np.log(count)) * len(found)


def steady_rho(values: Floats) -> float:
    """ρ of AR(1) around a level that jumps: (median |y₃ − y₁|)²/(median |y₂ − y₁|)² − 1 (Chakar et al. 2017)."""
    one, two = np.median(np.abs(np.diff(values))), np.median(np.abs(values[2:] - values[:-2]))
    return float(np.clip((two / one) ** 2 - 1, 0.0, HIGHEST)) if one > 0 else 0.0


def _deviation(values: Floats) -> float:
    return float(_MAD * np.median(np.abs(values - np.median(values))))


def _tamed(white: Floats) -> Floats:
    from scipy.ndimage import median_filter

    middle = median_filter(white, size=_WINDOW, mode="nearest")
    reach = _OUTLIER * _deviation(white - middle)
    return np.asarray(middle + np.clip(white - middle, -reach, reach))


def _partition(white: Floats, penalty: float) -> list[int]:
    count = len(white)
    place = np.arange(count, dtype=np.float64) / count
    columns = (np.ones(count), place, place**2, white, place * white, white**2)
    sums = [np.r_[0.0, np.cumsum(column)] for column in columns]
    best = np.full(count + 1, np.inf)
    best[0] = -penalty
    last = np.zeros(count + 1, dtype=int)
    for end in range(SHORTEST, count + 1):
        begin = np.arange(0, end - SHORTEST + 1)
        total = best[begin] + _line_costs(sums, begin, end) + penalty
        last[end] = int(np.argmin(total))
        best[end] = total[last[end]]
    found = []
    at = int(last[count])
    while at > 0:
        found.append(at)
        at = int(last[at])
    return found[::-1]


def _line_costs(sums: list[Floats], begin: Any, end: int) -> Floats:
    """The squared residuals of the best line from each beginning to this end."""
    size, x, xx, y, xy, yy = (column[end] - column[begin] for column in sums)
    spread, together = xx - x * x / size, xy - x * y / size
    explained = np.divide(together**2, spread, out=np.zeros_like(spread), where=spread > 1e-12)
    return np.asarray(np.maximum(0.0, yy - y * y / size - explained))

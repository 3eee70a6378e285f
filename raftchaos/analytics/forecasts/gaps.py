"""Gaps are filled before a model is fitted, and what was done is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raftchaos.analytics.series import Floats, Series
from raftchaos.errors import UsageError

MOST_READINGS = 20_160  # two weeks of minutes: the latest so many are used
LEAST_READINGS = 10
_MOST_MISSING = 1 / 3


@dataclass(frozen=True, eq=False)
class Filled:
    """Values without gaps, and notes about what was done to have them."""

    start: float
    values: Floats
    notes: tuple[str, ...]


def without_gaps(series: Series) -> Filled:
    """The latest readings, gaps filled by straight lines. Raises UsageError if less than 10 readings or two thirds
    are there.

    What lies before the first and behind the last reading is left out.
    """
    known = np.flatnonzero(np.isfinite(series.values))
    if len(known) < LEAST_READINGS:
        raise UsageError(
            f"found {len(known)} readings, expected at least {LEAST_READINGS}",
            hint="give a longer window or a finer step",
        )
    begin, end = max(int(known[0]), int(known[-1]) + 1 - MOST_READINGS), int(known[-1]) + 1
    values = series.values[begin:end]
    known = np.flatnonzero(np.isfinite(values))
    notes = []
    if begin > 0 and np.isfinite(series.values[:begin]).any():
        notes.append(f"the latest {MOST_READINGS} of {len(series)} readings are used")
    missing = len(values) - len(known)
    if missing > _MOST_MISSING * len(values):
        raise UsageError(
            f"found {missing} gaps in {len(values)} readings, expected at most a third",
            hint="choose a longer step, so that each has a reading",
        )
    if missing:
        values = np.interp(np.arange(len(values)), known, values[known])
        notes.append(f"{missing} gaps are filled by straight lines")
    return Filled(float(series.times[begin]), values, tuple(notes))

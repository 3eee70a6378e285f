"""How sure a difference of quantiles or shares is, when neighbouring seconds are alike.

Requests of one second share their fate, so they are not independent draws: whole blocks of time are drawn again, with
replacement and in runs of neighbours (the circular block bootstrap of Politis & Romano 1992; run length n^(1/3), Hall,
Horowitz & Jing 1995), and the interval is that of the middle 95 % of the differences found (the percentile method,
Efron 1979).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from raftchaos.analytics.series import Floats

Counts = npt.NDArray[np.float64]
DRAWS: Final = 1000
LEAST_BLOCKS: Final = 10
"""Fewer blocks of time than this carry no interval."""


def drawn(blocks: Counts, generator: np.random.Generator) -> Counts:
    """Sums over `DRAWS` redrawn samples of the rows of `blocks` (blocks of time × cells): samples × cells."""
    count = len(blocks)
    run = max(1, round(count ** (1 / 3)))
    starts = generator.integers(0, count, size=(DRAWS, -(-count // run)))
    places = (starts[:, :, None] + np.arange(run)).reshape(DRAWS, -1)[:, :count] % count
    weights = np.zeros((DRAWS, count))
    np.add.at(weights, (np.arange(DRAWS)[:, None], places), 1.0)
    return np.asarray(weights @ blocks)


def quantiles(counts: Counts, values: Floats, share: float) -> Floats:
    """The `share` quantile of each row of `counts`, whose cells stand for the ascending `values`; NaN if empty."""
    total = counts.sum(axis=1)
    reached = np.cumsum(counts, axis=1) >= np.maximum(total * share, 1e-12)[:, None]
    return np.where(total > 0, values[np.argmax(reached, axis=1)], np.nan)


def interval(differences: Floats) -> tuple[float, float] | None:
    """The middle 95 % of the differences; None if most of them are unknown."""
    known = differences[~np.isnan(differences)]
    if len(known) < len(differences) * 0.9:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)

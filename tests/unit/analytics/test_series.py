"""Series: what fits together is taken, everything else is told."""

from __future__ import annotations

import numpy as np
import pytest

from raftchaos.analytics.series import Series
from raftchaos.errors import UsageError


def test_a_regular_series_has_equal_steps_and_can_be_cut() -> None:
    series = Series.regular(1_700_000_000.0, 60.0, [1, 2, np.nan, 4])
    assert len(series) == 4
    assert series.times[-1] == 1_700_000_180.0
    part = series.between(1_700_000_060.0, 1_700_000_180.0)
    assert part.times.tolist() == [1_700_000_060.0, 1_700_000_120.0]
    assert part.values[0] == 2
    assert np.isnan(part.values[1])


@pytest.mark.parametrize(
    ("times", "values", "step"),
    [([0.0, 1.0], [1.0], 1.0), ([0.0, 1.0], [1.0, 2.0], 0.0), ([0.0, 3.0], [1.0, 2.0], 1.0), ([np.nan], [1.0], 1.0)],
)
def test_parts_that_do_not_fit_are_refused(times: list[float], values: list[float], step: float) -> None:
    with pytest.raises(UsageError, match="expected"):
        Series(np.array(times), np.array(values), step)

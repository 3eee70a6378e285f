"""Rows with any times become a series of equal steps; what was done is told."""

from __future__ import annotations

import numpy as np
import pytest

from raftchaos.analytics.sources import series as source
from raftchaos.analytics.sources.series import Collector, to_series
from raftchaos.errors import UsageError


def test_gaps_doubles_and_disorder() -> None:
    found, notes = to_series("f", [0, 60, 120, 121, 300, 240], [1, 2, 3, 5, 6, 7])
    assert found.step == pytest.approx(60)
    assert found.values.tolist() == pytest.approx([1, 2, 4, np.nan, 7, 6], nan_ok=True)
    assert notes[1:] == ["1 steps with more than one reading: their mean is used", "1 steps without a reading"]


def test_months_have_neither_gaps_nor_doubles() -> None:
    days = np.cumsum([0, *[31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] * 10])
    found, _ = to_series("f", days * 86_400.0, np.arange(121.0))
    assert found.values.tolist() == np.arange(121.0).tolist()
    assert found.step == pytest.approx(365 / 12 * 86_400)


def test_one_time_is_too_little_and_a_stray_one_too_far() -> None:
    with pytest.raises(UsageError, match="f: found readings of 1 different times"):
        to_series("f", [5, 5], [1, 2])
    with pytest.raises(UsageError, match="steps of 1 s from the first to the last of 4 readings"):
        to_series("f", [0, 1, 2, 10**9], [1, 2, 3, 4])


@pytest.mark.parametrize("latest", [True, False])
def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, latest: bool) -> None:
    monkeypatch.setattr(source, "MOST_ROWS", 100)
    collector = Collector(latest=latest)
    for place in range(1_000):
        collector.add(float(place), float(place))
        collector.add(float(place), float("nan"))
    found, notes = collector.series("f")
    assert len(found) <= 100
    assert found.values[-1] > 980
    assert "1,000" in notes[0]
    assert (found.times[0] > 800) == latest

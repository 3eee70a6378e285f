"""Trends: the direction, its confidence, what too little data and autocorrelation do to it, and change points."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from raftchaos.analytics.series import Floats, Series
from raftchaos.analytics.trends.changes import change_points, steady_rho
from raftchaos.analytics.trends.dependence import dependence, whitened
from raftchaos.analytics.trends.significance import least_squares, mann_kendall
from raftchaos.analytics.trends.trend import MOST_POINTS, condensed, find_trend


def ar1(count: int, rho: float, seed: int) -> Floats:
    shocks = np.random.default_rng(seed).normal(size=count + 200)
    return np.asarray(lfilter([1.0], [1.0, -rho], shocks))[200:]


def minutes(values: object) -> Series:
    return Series.regular(1_700_000_000.0, 60.0, values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("slope", "direction"), [(0.1, "increasing"), (-0.1, "decreasing"), (0.0, "stable")])
def test_a_direction_is_told_with_its_rate(slope: float, direction: str) -> None:
    found = find_trend(minutes(100 + slope * np.arange(200) + ar1(200, 0.3, 3)), "latency")
    assert found.direction == direction
    assert found.rate_low <= 60 * slope <= found.rate_high
    assert found.confidence > 0.95
    assert "latency" in found.sentence


def test_a_series_that_swings_without_direction_is_volatile() -> None:
    assert find_trend(minutes(10 + 8 * ar1(200, 0.0, 2))).direction == "volatile"


def test_neighbours_that_are_alike_leave_too_little_to_say() -> None:
    found = find_trend(minutes(np.cumsum(ar1(40, 0.0, 3))))
    assert found.direction == "unknown"
    assert found.confidence == 0
    assert "not enough independent data" in found.sentence


@pytest.mark.parametrize("values", [[], [1.0, 2.0], [float("nan")] * 30])
def test_too_few_readings_are_told(values: list[float]) -> None:
    found = find_trend(minutes(values))
    assert (found.direction, found.test) == ("unknown", "none")
    assert "not enough data" in found.sentence


def test_a_constant_is_stable_for_sure() -> None:
    found = find_trend(minutes(np.full(50, 7.0)))
    assert (found.direction, found.confidence, found.rate_per_hour) == ("stable", 1.0, 0.0)


def test_autocorrelation_makes_no_trends() -> None:
    wrong = sum(least_squares(np.arange(120.0), ar1(120, 0.6, seed)).p_value < 0.05 for seed in range(100))
    assert wrong <= 15  # 5 are expected; ordinary least squares finds some 30


def test_the_bias_of_the_first_autocorrelation_is_corrected() -> None:
    found = [dependence(ar1(60, 0.6, seed) - ar1(60, 0.6, seed).mean()).rho for seed in range(100)]
    assert np.mean(found) == pytest.approx(0.6, abs=0.06)


def test_whitening_bridges_gaps() -> None:
    places = np.array([0.0, 1.0, 3.0])
    white = whitened(np.array([1.0, 1.0, 1.0]), places, 0.5)
    keep = np.sqrt(1 - 0.25)
    assert white == pytest.approx([keep, 0.5, 0.75 * keep / np.sqrt(1 - 0.25**2)])


def test_both_tests_agree_on_a_clear_slope_and_ranks_bear_outliers() -> None:
    places, values = np.arange(60.0), 0.2 * np.arange(60.0) + ar1(60, 0.0, 4)
    values[50] = -500.0
    assert mann_kendall(places, values).rising > 0.999
    assert find_trend(minutes(values + 1_000)).test == "mannKendall"
    assert find_trend(minutes(values + 1_000)).direction == "increasing"


def test_a_season_is_no_trend() -> None:
    day = 50 + 20 * np.sin(2 * np.pi * np.arange(60) / 24)
    found = find_trend(Series.regular(0.0, 3_600.0, day + ar1(60, 0.0, 5)))
    assert found.direction == "stable"


def test_gaps_do_no_harm() -> None:
    values = 100 + 0.1 * np.arange(300) + ar1(300, 0.3, 6)
    values[40:90] = np.nan
    assert find_trend(minutes(values)).direction == "increasing"


def test_a_long_series_is_put_together() -> None:
    times, values = condensed(np.arange(1e5), np.arange(1e5), 1.0)
    assert len(values) <= MOST_POINTS
    assert values[0] == pytest.approx(times[0] + 34.5)


def test_a_step_is_found_where_it_is_and_a_slope_has_none() -> None:
    level = np.where(np.arange(300) < 180, 0.0, 6.0)
    assert change_points(level + ar1(300, 0.2, 7)) == [pytest.approx(180, abs=2)]
    assert change_points(0.05 * np.arange(300) + ar1(300, 0.2, 8)) == []
    assert change_points(np.zeros(100)) == []
    found = find_trend(minutes(20 + level + ar1(300, 0.2, 7)))
    assert found.change_points[0].before == pytest.approx(20, abs=0.5)
    assert found.change_points[0].after == pytest.approx(26, abs=0.5)


def test_rho_is_told_beside_a_step() -> None:
    values = ar1(3_000, 0.5, 9) + np.where(np.arange(3_000) < 1_500, 0.0, 50.0)
    assert steady_rho(values) == pytest.approx(0.5, abs=0.1)

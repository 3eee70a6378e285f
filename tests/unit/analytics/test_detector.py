"""The detector of any metric: what it finds, what leaves it silent, and that it never looks ahead."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftchaos.analytics.anomalies.detector import ALARM, Detector, Recipe
from raftchaos.analytics.anomalies.memory import DAY, Ordered, SeasonalMedian
from raftchaos.analytics.anomalies.surprise import CAP, TailSurprise

STEP = 300.0


def scores(values: list[float], recipe: Recipe | None = None) -> list[float]:
    detector = Detector(recipe)
    return [detector.update(STEP * row, value) for row, value in enumerate(values)]


def daily(days: int, seed: int = 1) -> np.ndarray:
    """A metric with a daily rhythm and noise, a reading every five minutes."""
    rows = np.arange(days * 288)
    return 100 + 30 * np.sin(2 * np.pi * rows / 288) + np.random.default_rng(seed).normal(0, 3, len(rows))


@pytest.mark.parametrize("change", ["spike", "shift"])
def test_a_spike_and_a_lasting_shift_are_found(change: str) -> None:
    values, at = daily(4), 3 * 288
    values[at : at + 1 if change == "spike" else None] += 60
    alarms = [row for row, score in enumerate(scores(values.tolist())) if score >= ALARM]
    assert any(at <= row < at + 12 for row in alarms), alarms


def test_quiet_series_raise_few_alarms() -> None:
    assert sum(score >= ALARM for score in scores(daily(5).tolist())) <= 3


def test_a_constant_series_and_ten_readings_have_score_nought() -> None:
    assert set(scores([5.0] * 500)) == {0.0}
    assert set(scores([float(value) for value in range(10)])) == {0.0}


def test_missing_readings_have_score_nought_and_change_nothing() -> None:
    values = daily(3).tolist()
    detector = Detector()
    with_gaps = []
    for row, value in enumerate(values):
        with_gaps.append(detector.update(STEP * row, value))
        for missing in (math.nan, math.inf, -math.inf):
            assert detector.update(STEP * row, missing) == 0.0
    assert with_gaps == scores(values)


def test_no_alarm_follows_another_too_soon() -> None:
    rng = np.random.default_rng(3)
    values = np.where(rng.random(1500) < 0.02, rng.pareto(0.5, 1500) * 100, rng.normal(0, 1, 1500))
    alarms = [row for row, score in enumerate(scores(values.tolist())) if score >= ALARM]
    assert len(alarms) > 1
    assert min(np.diff(alarms)) > Recipe().quiet_rows


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=40),
    st.integers(min_value=0, max_value=160),
)
def test_the_scores_of_a_beginning_are_the_beginning_of_the_scores(pattern: list[float], cut: int) -> None:
    values = (pattern * 200)[:160]
    whole = scores(values, Recipe(memory=120))
    assert scores(values[:cut], Recipe(memory=120)) == whole[:cut]
    assert all(0.0 <= score <= 1.0 for score in whole)


def test_memory_is_bounded() -> None:
    recipe = Recipe(memory=200)
    short, long = Detector(recipe), Detector(recipe)
    rng = np.random.default_rng(5)
    for row, value in enumerate(rng.normal(size=1500)):
        if row < 700:
            short.update(STEP * row, value)
        long.update(STEP * row, value)
    assert len(long._neighbours._past) == len(short._neighbours._past)
    assert len(long._scale._past) == len(short._scale._past) == 200
    assert len(long._range._past) == 200


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(min_value=-9, max_value=9), max_size=60), st.integers(min_value=1, max_value=20))
def test_ordered_keeps_the_last_numbers_sorted(numbers: list[int], most: int) -> None:
    kept = Ordered(most)
    for number in numbers:
        kept.add(number)
    assert list(kept.values) == sorted(numbers[-most:])


def test_the_surprise_of_a_tail_is_near_the_true_one() -> None:
    rng = np.random.default_rng(7)
    surprise = TailSurprise()
    for value in rng.exponential(size=20_000):
        surprise(value)
    for true in (1.0, 2.0, 3.0, 5.0):
        assert abs(surprise.of(true * math.log(10)) - true) < 0.25 * true
    assert surprise.of(1e9) == CAP
    assert surprise.of(-1.0) == 0.0


def test_the_usual_reading_is_that_of_the_time_of_day() -> None:
    season = SeasonalMedian(DAY, 24, 10)
    for row in range(24 * 8):
        season.learn(row * 3600.0, float(row % 24))
    assert season.expected(9 * DAY + 10 * 3600.0 + 5) == 10.0
    assert SeasonalMedian(DAY, 24, 10).expected(0.0) is None

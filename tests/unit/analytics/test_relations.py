"""Correlation, impact, comparison: on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from raftchaos.analytics.relations.comparison import Measured, compare, verdict
from raftchaos.analytics.relations.correlation import correlations, whitened
from raftchaos.analytics.relations.impact import impact_by_control, impact_by_time, sentence
from raftchaos.analytics.relations.measured import Requests, quantile_change
from raftchaos.analytics.series import Series
from raftchaos.errors import UsageError
from raftchaos.model.findings.impact import Estimate

EDGES = np.geomspace(1.0, 10_000.0, 400)


def autoregression(generator: np.random.Generator, length: int, rho: float) -> np.ndarray:
    noise = generator.normal(size=length + 200)
    values = np.zeros(length + 200)
    for place in range(1, len(values)):
        values[place] = rho * values[place - 1] + noise[place]
    return values[200:]


def requests(
    generator: np.random.Generator, *, blocks: int = 60, each: int = 50, median: float = 40.0, errors: float = 0.01
) -> Requests:
    latencies = median * np.exp(generator.normal(0, 0.5, size=(blocks, each)))
    counts = np.stack([np.histogram(row, bins=np.append(EDGES, np.inf))[0] for row in latencies]).astype(float)
    wrong = generator.binomial(each, errors, size=blocks).astype(float)
    return Requests(EDGES, counts, wrong, np.full(blocks, float(each)))


def series(values: np.ndarray) -> Series:
    return Series.regular(1_700_000_000.0, 10.0, values)


def test_a_metric_that_follows_another_is_found_with_its_lag_and_named_second() -> None:
    generator = np.random.default_rng(1)
    cause = autoregression(generator, 400, 0.7)
    effect = np.concatenate([np.zeros(3), cause[:-3]]) * -2 + generator.normal(size=400) * 0.5
    other = autoregression(generator, 400, 0.7)
    found = correlations({"z_cause": series(cause), "a_effect": series(effect), "other": series(other)}, max_lag=10)
    assert [(one.first, one.second, one.lag_seconds) for one in found] == [("z_cause", "a_effect", 30.0)]
    assert found[0].coefficient < -0.6
    assert found[0].p_value < 1e-6
    assert "falls 30 s later" in found[0].interpretation


def test_series_that_wander_apart_are_seldom_said_to_move_together() -> None:
    generator = np.random.default_rng(2)
    alarms = 0
    for _ in range(40):
        rows = {str(number): series(autoregression(generator, 200, 0.95)) for number in range(4)}
        alarms += bool(correlations(rows, max_lag=5))
    assert alarms <= 6  # 2 of 40 expected at 5 %; more than 6 has a chance of 0.3 %


def test_gaps_and_series_that_never_change_do_no_harm() -> None:
    generator = np.random.default_rng(3)
    one = autoregression(generator, 300, 0.5)
    two = one + generator.normal(size=300) * 0.3
    one[50:60] = np.nan
    found = correlations({"one": series(one), "two": series(two), "flat": series(np.full(300, 7.0))}, max_lag=2)
    assert [(f.first, f.second, f.lag_seconds) for f in found] in ([("one", "two", 0.0)], [("two", "one", 0.0)])
    assert np.isnan(whitened(np.full(100, 3.0))).all()
    assert correlations({}, max_lag=0) == ()
    assert correlations({"one": series(one)}, max_lag=0) == ()


def test_what_cannot_be_correlated_is_refused() -> None:
    rows = {"one": series(np.arange(100.0)), "two": Series.regular(0.0, 5.0, np.arange(100.0))}
    with pytest.raises(UsageError, match="expected at most 64 of one step"):
        correlations(rows, max_lag=1)
    with pytest.raises(UsageError, match="found a lag of 60 steps"):
        correlations({"one": series(np.arange(100.0)), "two": series(np.arange(100.0))}, max_lag=60)


def test_the_interval_of_a_change_holds_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for number in range(60):
        generator = np.random.default_rng(100 + number)
        change = quantile_change(requests(generator, median=40), requests(generator, median=60), 0.5, number)
        assert change.low is not None
        assert change.high is not None
        held += change.low <= 20 <= change.high
    assert held >= 50  # 57 expected at 95 %


def test_the_impact_is_the_difference_to_the_control_group() -> None:
    generator = np.random.default_rng(5)
    found = impact_by_control(requests(generator, median=240, errors=0.2), requests(generator, median=40), seed=1)
    assert [(one.metric, one.unit) for one in found] == [
        ("latency_p50", "ms"),
        ("latency_p95", "ms"),
        ("error_ratio", "%"),
    ]
    assert all(one.effect.excludes_zero() for one in found)
    assert found[0].effect.value == pytest.approx(200, rel=0.1)
    assert found[2].effect.value == pytest.approx(19, abs=3)
    assert found[0].sentence.startswith("+")
    assert "(95 % " in found[0].sentence


def test_no_effect_is_told_as_none() -> None:
    generator = np.random.default_rng(6)
    found = impact_by_control(requests(generator), requests(generator), seed=1)
    assert not any(one.effect.excludes_zero() for one in found)


def test_without_a_control_group_the_time_before_and_after_tells() -> None:
    held = lasting = 0
    for number in range(60):
        generator = np.random.default_rng(200 + number)
        values = 100 + 5 * autoregression(generator, 150, 0.5)
        values[60:100] += 50
        found = impact_by_time("latency_p95", "ms", series(values), 1_700_000_600.0, 1_700_001_000.0)
        assert found.effect.low is not None
        assert found.effect.high is not None
        assert found.lasting is not None
        held += found.effect.low <= 50 <= found.effect.high
        lasting += found.lasting.excludes_zero()
    assert held >= 50
    assert lasting <= 9


def test_an_impact_needs_a_before_and_a_during_and_says_when_there_is_little() -> None:
    values = series(np.array([10.0, 10.0, 30.0, 30.0, 10.0]))
    found = impact_by_time("errors", "a minute", values, values.times[2], values.times[4])
    assert (found.effect.value, found.effect.low) == (20.0, None)
    assert found.sentence == "+20 a minute errors (too little independent data for an interval)"
    with pytest.raises(UsageError, match="expected an end after its start"):
        impact_by_time("errors", "", values, 10.0, 10.0)
    with pytest.raises(UsageError, match="found 0 values of errors before"):
        impact_by_time("errors", "", values, values.times[0], values.times[4])


def test_the_sentence_of_a_report() -> None:
    assert sentence("p95", "ms", Estimate(value=212.4, low=180.2, high=239.8)) == "+212 ms p95 (95 % 180 to 240)"


def test_a_slower_release_is_worse_and_the_same_one_is_not() -> None:
    generator = np.random.default_rng(7)
    first = Measured("one", requests(generator, blocks=200), [1.0, 1.1, 0.9, 1.0, 1.05])
    slower = Measured("two", requests(generator, blocks=200, median=80), [3.0, 3.1, 2.9, 3.0, 3.2])
    found = {one.measure: one.verdict for one in compare(first, slower).differences}
    assert found["latency_p50"] == found["latency_p95"] == found["recovery_seconds"] == "worse"
    assert compare(first, slower).worse
    assert compare(slower, first).differences[0].verdict == "better"
    assert not compare(first, Measured("again", requests(generator, blocks=200), [1.0, 1.02, 0.98, 1.0])).worse


def test_what_was_not_measured_is_left_out() -> None:
    nothing = Requests(EDGES, np.zeros((0, len(EDGES))), np.zeros(0), np.zeros(0))
    generator = np.random.default_rng(8)
    found = compare(Measured("a", nothing, [1.0]), Measured("b", requests(generator), [5.0]))
    assert [(one.measure, one.verdict) for one in found.differences] == [("recovery_seconds", "unclear")]
    with pytest.raises(UsageError, match="nothing that was measured of both a and b"):
        compare(Measured("a", nothing, []), Measured("b", requests(generator), [5.0]))


def test_the_verdict_of_an_interval() -> None:
    assert verdict(Estimate(value=3, low=2, high=4), 1) == "worse"
    assert verdict(Estimate(value=-3, low=-4, high=-2), 1) == "better"
    assert verdict(Estimate(value=0, low=-1, high=1), 1) == "same"
    assert verdict(Estimate(value=1, low=-1, high=3), 1) == "unclear"
    assert verdict(Estimate(value=1), 1) == "unclear"

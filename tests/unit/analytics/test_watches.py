"""The six types of anomaly: each finds what was put in, says by how much, and leaves quiet data alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raftchaos.analytics.anomalies.cascade import CascadeWatch
from raftchaos.analytics.anomalies.counts import CountWatch, lower_tail, upper_tail
from raftchaos.analytics.anomalies.errors import BOUND, ErrorWatch, at_least
from raftchaos.analytics.anomalies.exhaustion import Crossing, ExhaustionWatch, trend_crossing
from raftchaos.analytics.anomalies.latency import LatencyWatch
from raftchaos.analytics.anomalies.signal import Signal
from raftchaos.analytics.series import Series
from raftchaos.model.findings.anomaly import AnomalyType


@settings(max_examples=30, deadline=None)
@given(
    st.integers(min_value=0, max_value=200),
    st.floats(min_value=0.1, max_value=100),
    st.floats(min_value=0.01, max_value=2),
)
def test_tails_are_those_of_the_negative_binomial(count: int, mean: float, alpha: float) -> None:
    exact = stats.nbinom(1 / alpha, 1 / (1 + alpha * mean))
    assert upper_tail(count, mean, alpha) == pytest.approx(exact.sf(count - 1), rel=1e-6, abs=1e-12)
    assert lower_tail(count, mean, alpha) == pytest.approx(exact.cdf(count), rel=1e-6, abs=1e-12)
    assert upper_tail(count, mean, 0.0) == pytest.approx(stats.poisson.sf(count - 1, mean), rel=1e-6, abs=1e-12)
    assert lower_tail(count, mean, 0.0) == pytest.approx(stats.poisson.cdf(count, mean), rel=1e-6, abs=1e-12)


def counted(values: list[float]) -> list[Signal]:
    watch = CountWatch("total_events")
    found = [watch.update(60.0 * minute, value) for minute, value in enumerate(values)]
    return [one for one in found if one is not None]


def quiet_counts(minutes: int, mean: float = 50.0) -> list[float]:
    usual = mean * (1 + 0.5 * np.sin(2 * np.pi * np.arange(minutes) / 1440))
    return np.random.default_rng(2).poisson(usual).astype(float).tolist()


def test_a_threefold_spike_is_found_within_two_minutes() -> None:
    values = quiet_counts(1600)
    assert counted(values) == []
    spike = counted([*values[:1500], *(3 * value for value in values[1500:1502])])
    assert {one.type for one in spike} == {AnomalyType.EVENT_SPIKE}
    assert spike[0].time <= 1502 * 60
    assert spike[0].severity == pytest.approx(2 / 3, abs=0.1)
    assert spike[0].evidence["count"] > 2 * float(spike[0].evidence["expected"])  # type: ignore[operator]


def test_silence_is_found_and_is_as_severe_as_can_be() -> None:
    found = counted([*quiet_counts(1500), *[0.0] * 3])
    assert {one.type for one in found} == {AnomalyType.UNEXPECTED_QUIET}
    assert found[0].severity > 0.5
    assert found[-1].severity == 1.0


def test_overdispersed_counts_are_usual_where_they_always_are() -> None:
    rng = np.random.default_rng(4)
    values = rng.poisson(50 * rng.gamma(5, 0.2, 3000)).astype(float).tolist()
    assert len(counted(values)) <= 2
    watch = CountWatch("total_events")
    for minute, value in enumerate(values):
        watch.update(60.0 * minute, value)
    assert watch.alpha(1) == pytest.approx(0.2 * 1.2, rel=0.25)


def test_a_metric_without_events_is_silent() -> None:
    assert counted([0.0] * 3000) == []


def test_latency_that_doubles_is_found_at_once_and_again_after_it() -> None:
    rng = np.random.default_rng(6)
    values = (100 * np.exp(rng.normal(0, 0.05, 400))).tolist()
    watch = LatencyWatch("latency_p95")
    for at in (300, 350):
        values[at : at + 10] = [2 * value for value in values[at : at + 10]]
    found = [one for minute, value in enumerate(values) if (one := watch.update(60.0 * minute, value))]
    minutes = [int(one.time / 60) - 1 for one in found]
    assert minutes[0] == 300
    assert 350 in minutes
    assert all(300 <= minute < 312 or 350 <= minute < 362 for minute in minutes)
    assert max(one.severity for one in found) == pytest.approx(0.5, abs=0.1)
    assert found[0].evidence["factor"] == pytest.approx(2, abs=0.3)


def test_latency_that_stays_longer_becomes_usual() -> None:
    rng = np.random.default_rng(6)
    watch = LatencyWatch("latency_p95")
    values = 100 * np.exp(rng.normal(0, 0.05, 700))
    values[300:] *= 2
    found = [minute for minute, value in enumerate(values.tolist()) if watch.update(60.0 * minute, value)]
    assert found[0] == 300
    assert max(found) < 500


def test_minutes_without_requests_say_nothing() -> None:
    latency, errors = LatencyWatch("latency_p95"), ErrorWatch("error_ratio")
    for minute in range(200):
        assert latency.update(60.0 * minute, math.nan) is None
        assert errors.update(60.0 * minute, 0, 0) is None


def errors_of(shares: list[float], requests: int = 200) -> list[tuple[int, Signal]]:
    rng, watch = np.random.default_rng(8), ErrorWatch("error_ratio")
    found = []
    for minute, share in enumerate(shares):
        signal = watch.update(60.0 * minute, float(rng.binomial(requests, share)), requests)
        found += [(minute, signal)] if signal else []
    return found


def test_more_errors_than_usual_and_more_than_the_bound() -> None:
    assert errors_of([0.01] * 500) == []
    minute, signal = errors_of([0.01] * 100 + [0.08] * 5)[0]
    assert 100 <= minute <= 101
    assert signal.severity == pytest.approx(0.07**0.5, abs=0.1)
    assert float(signal.evidence["probability"]) < 1e-6
    assert errors_of([2 * BOUND])[0][0] == 0
    assert errors_of([2 * BOUND] * 500)[-1][0] == 499  # what is always too much is never usual
    assert errors_of([0.0] * 100 + [0.004] * 100) == []  # unusual, but fewer than one in a hundred


def test_the_probability_is_that_of_the_binomial() -> None:
    assert at_least(12, 200, 0.02) == pytest.approx(stats.binom.sf(11, 200, 0.02))
    assert at_least(0, 200, 0.02) == 1.0
    assert at_least(5, 5, 0.5) == pytest.approx(0.5**5)


def test_a_trend_tells_when_the_limit_is_reached() -> None:
    rng = np.random.default_rng(9)
    rising = Series.regular(0, 60, 50 + 0.5 * np.arange(80) + rng.normal(0, 0.5, 80))
    found = trend_crossing(rising, 100.0)
    assert found is not None
    assert found.seconds == pytest.approx((100 - 89.5) / 0.5 * 60, rel=0.1)
    assert found.earliest < found.seconds < found.latest
    assert trend_crossing(rising, 1000.0) is None  # further away than the series is long
    assert trend_crossing(Series.regular(0, 60, rng.normal(50, 1, 80)), 100.0) is None
    assert trend_crossing(Series.regular(0, 60, np.full(80, 50.0)), 100.0) is None
    assert trend_crossing(Series.regular(0, 60, np.full(80, np.nan)), 100.0) is None


def test_exhaustion_is_told_before_it_comes_and_worsens() -> None:
    rng, watch = np.random.default_rng(10), ExhaustionWatch("memory_percent")
    values = np.concatenate([np.full(100, 50.0), np.linspace(50, 100, 101)]) + rng.normal(0, 0.3, 201)
    found = [
        (minute, one) for minute, value in enumerate(values) if (one := watch.update(60.0 * minute, min(value, 100)))
    ]
    assert 100 < found[0][0] < 190
    left = float(found[0][1].evidence["secondsLeft"]) / 60
    assert found[0][0] + left == pytest.approx(200, abs=20)
    assert found[-1][1].severity == 1.0
    assert found[0][1].severity < 1.0


def test_a_sawtooth_and_a_resource_that_is_not_used_are_no_exhaustion() -> None:
    sawtooth, idle = ExhaustionWatch("memory_percent"), ExhaustionWatch("open_files", 1024)
    for minute in range(600):
        sawtooth_signal = sawtooth.update(60.0 * minute, 50 + minute % 60 * 0.7)
        assert sawtooth_signal is None or minute <= 60
        assert idle.update(60.0 * minute, 3.0) is None


def test_a_better_forecast_takes_the_place_of_the_trend() -> None:
    watch = ExhaustionWatch("disk_percent", forecast=lambda series, limit: Crossing(600.0, 300.0, 900.0))
    found = [watch.update(60.0 * minute, 50 + minute) for minute in range(40)]
    signal = next(one for one in found if one)
    assert (signal.evidence["secondsLeft"], signal.evidence["secondsLeftAtLeast"]) == (600.0, 300.0)


def spread(onsets: dict[str, int], seed: int = 11, steps: int = 150) -> list[Signal]:
    """What a watch says about six services of which some go bad for 20 steps from their onset."""
    rng, watch = np.random.default_rng(seed), CascadeWatch("error_ratio", 10.0)
    shape = 30 * (1 + 0.3 * rng.normal(size=20))
    found = []
    for step in range(steps):
        values = {name: float(rng.normal()) for name in ("web", "api", "db", "cache", "queue", "mail")}
        for name, onset in onsets.items():
            values[name] += shape[step - onset] if onset <= step < onset + 20 else 0.0
        found.append(watch.update(10.0 * step, values))
    return [one for one in found if one is not None]


def test_a_cascade_is_a_path_with_its_lags() -> None:
    found = spread({"db": 100, "api": 103, "web": 105})
    assert found[-1].affected == ("db", "api", "web")
    assert found[-1].evidence["path"] == "db → api → web"
    assert found[-1].evidence["lags"] == "db → 30 s → api → 20 s → web"
    assert found[-1].severity == pytest.approx(2 / 3)
    assert found[-1].since == 1000.0


@pytest.mark.parametrize("onsets", [{}, {"db": 100}, {"db": 100, "api": 103}, {"db": 60, "api": 90, "web": 120}])
def test_what_is_no_cascade(onsets: dict[str, int]) -> None:
    assert spread(onsets) == []


def test_services_may_come_late_and_have_gaps() -> None:
    watch = CascadeWatch("error_ratio")
    for step in range(80):
        values = {"a": float(step % 3)} if step < 40 else {"a": math.nan, "b": float(step % 5)}
        assert watch.update(10.0 * step, values) is None

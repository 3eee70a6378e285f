"""The engine over a recording: what the README prints, and that each part says what is true of known data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from raftchaos import AdvancedAnalyticsEngine, ChaosAnalytics
from raftchaos.analytics.anomalies.incidents import KnownFault
from raftchaos.errors import NotFound, UsageError

START = 1_700_000_000 // 3600 * 3600


def recorded(minutes: int, *, seed: int = 1, analytics: ChaosAnalytics | None = None, begin: int = 0) -> ChaosAnalytics:
    """Some fifty requests a minute of /cart, one in a hundred fails."""
    analytics = analytics or ChaosAnalytics()
    generator = np.random.default_rng([seed, begin])
    for minute in range(begin, begin + minutes):
        count = int(generator.poisson(50))
        analytics.record_events(
            START + 60 * minute + np.sort(generator.uniform(0, 60, count)),
            "request",
            endpoint="/cart",
            latency_ms=40 * np.exp(generator.normal(0, 0.3, count)),
            error=generator.random(count) < 0.01,
        )
    return analytics


def fail(analytics: ChaosAnalytics, begin: int, minutes: int) -> None:
    """Every request fails."""
    for minute in range(begin, begin + minutes):
        at = START + 60 * minute + np.arange(0.0, 60.0)
        analytics.record_events(at, "request", endpoint="/cart", latency_ms=40.0, error=True)
    analytics.record_event("request", at=START + 60 * (begin + minutes) + 10, endpoint="/cart", latency_ms=40.0)


def test_the_quick_start_runs_as_the_readme_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^## Analytics from Python\n.*?```python\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    told = capsys.readouterr().out
    assert "high_error_rate error_ratio 1.00" in told
    assert "total_events never changed" in told
    assert 0 <= float(told.split()[-1]) <= 100


def test_a_quiet_recording_is_well_and_has_no_anomalies() -> None:
    engine = AdvancedAnalyticsEngine(recorded(120))
    assert engine.get_anomalies(START) == []
    health = engine.calculate_health_score()
    assert health is not None
    assert health.score > 85
    assert set(health.unknown) == {"availability", "saturation", "recovery"}
    trend = engine.analyze_trend("total_events", START, START + 7200)
    assert trend.direction == "stable"


def test_failing_requests_are_an_anomaly_and_cost_health() -> None:
    analytics = recorded(60)
    engine = AdvancedAnalyticsEngine(analytics, node="node-1")
    assert engine.get_anomalies(START) == []
    fail(analytics, 60, 3)
    found = engine.get_anomalies(START)
    assert {one.metric for one in found if one.type == "high_error_rate"} == {
        "error_ratio",
        'error_ratio{endpoint="/cart"}',
    }
    assert all(one.node == "node-1" and not one.expected for one in found)
    health = engine.calculate_health_score()
    assert health is not None
    assert health.score < 60
    assert [one.id for one in engine.get_anomalies(START)] == [one.id for one in found]


def test_what_a_fault_explains_is_expected() -> None:
    analytics = recorded(60)
    engine = AdvancedAnalyticsEngine(analytics, node="node-1")
    engine.know_faults([KnownFault("t/1/0/node-1/1", START + 3590.0, None, frozenset({"node-1"}))])
    fail(analytics, 60, 3)
    found = engine.get_anomalies(START)
    assert found
    assert all(one.expected and one.explained_by == ("t/1/0/node-1/1",) for one in found)
    assert engine.worst() > 0.5
    assert engine.worst(expected=False) == 0.0


def test_insights_come_due_and_say_how_right_they_were() -> None:
    analytics = recorded(60)
    engine = AdvancedAnalyticsEngine(analytics)
    made = engine.generate_insights()
    assert {one.metric for one in made} == {"total_events", "error_ratio", "latency_p95"}
    assert "cpu_percent" in engine.failures
    assert all(one.actual is None for one in engine.insights())
    recorded(32, analytics=analytics, begin=60)
    due = {one.metric: one for one in engine.insights()}
    assert due["total_events"].actual is not None
    assert due["total_events"].error_ratio is not None
    assert engine.forecast("total_events", 5).expected[0].at >= START + 60 * 91


def test_correlations_and_impact() -> None:
    analytics = recorded(60)
    fail(analytics, 60, 10)
    recorded(20, analytics=analytics, begin=71)
    engine = AdvancedAnalyticsEngine(analytics)
    found = engine.correlations(START, START + 60 * 90)
    assert any({one.first, one.second} == {"requests", "total_events"} for one in found)
    (effect,) = engine.impact(START + 3600, START + 4200, ["error_ratio"])
    assert effect.effect.low is not None
    assert effect.effect.low > 0.8
    assert engine.impact(START - 9000, START - 8000) == []


def test_bad_questions_are_answered_with_what_is_known() -> None:
    engine = AdvancedAnalyticsEngine(recorded(5))
    with pytest.raises(NotFound, match="expected one of total_events"):
        engine.analyze_trend("nonsense", START, START + 60)
    with pytest.raises(UsageError, match="found the range"):
        engine.analyze_trend("total_events", START + 60, START)
    with pytest.raises(UsageError, match="expected 30 or more"):
        engine.forecast("total_events")


def test_an_empty_recording_has_no_health_and_nothing_to_say() -> None:
    engine = AdvancedAnalyticsEngine(ChaosAnalytics())
    assert engine.calculate_health_score() is None
    assert engine.get_anomalies(0.0) == []
    assert engine.generate_insights() == []
    assert engine.insights() == []
    assert engine.correlations(0.0, 3600.0) == []

"""The health of a target and the resilience of a service: sums that come out exactly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftchaos.core.health import SCALES, score, worst
from raftchaos.core.resilience import DAY, Experiment, credit, resilience

WELL = {
    "availability": 1.0,
    "errors": 0.0,
    "latency": 1.0,
    "saturation": 0.3,
    "anomalies": 0.0,
    "recovery": 0.0,
}


def test_the_weights_are_percentages() -> None:
    assert sum(scale.weight for scale in SCALES.values()) == 100


def test_a_target_that_is_well_has_a_hundred_and_nothing_that_takes_from_it() -> None:
    found = score("proxy:cart", WELL)
    assert found is not None
    assert (found.score, found.unknown) == (100.0, ())
    assert all(factor.impact == 0 for factor in found.factors)


def test_each_component_takes_its_weight_when_it_is_at_its_worst() -> None:
    for name, scale in SCALES.items():
        found = score("node-1", {**WELL, name: scale.bad})
        assert found is not None
        assert found.score == 100 - scale.weight
        assert (found.factors[0].component, found.factors[0].impact) == (name, -scale.weight)


def test_half_of_the_error_budget_costs_half_of_its_weight() -> None:
    scale = SCALES["errors"]
    found = score("x", {**WELL, "errors": (scale.good + scale.bad) / 2})
    assert found is not None
    assert found.score == 87.5


def test_what_nobody_can_tell_is_left_out_and_the_others_weigh_more() -> None:
    found = score("x", {"errors": 1.0, "saturation": 0.2, "anomalies": math.nan})
    assert found is not None
    assert found.score == pytest.approx(100 - 25 / 35 * 100, abs=0.01)
    assert found.unknown == ("availability", "latency", "anomalies", "recovery")
    assert sum(factor.weight for factor in found.factors) == pytest.approx(1)
    assert score("x", {}) is None
    assert score("x", {"errors": math.nan}) is None


@given(st.dictionaries(st.sampled_from(sorted(SCALES)), st.floats(min_value=-10, max_value=1e9), min_size=1))
def test_the_factors_add_up_to_the_score_exactly(measured: dict[str, float]) -> None:
    found = score("x", measured)
    assert found is not None
    assert round(100 * found.score) == 10_000 + sum(round(100 * factor.impact) for factor in found.factors)
    assert 0 <= found.score <= 100
    assert [factor.impact for factor in found.factors] == sorted(factor.impact for factor in found.factors)


def test_the_worst_target_counts_and_an_unseen_one_is_not_taken_for_well() -> None:
    well, ill = score("a", WELL), score("b", {**WELL, "errors": 1.0})
    assert worst({"a": well, "b": ill}) == ill
    assert worst({"a": well, "b": ill, "c": None}) is None
    assert worst({}) is None


def test_a_pass_counts_in_full_for_a_week_and_then_half_a_month_by_month() -> None:
    passed = Experiment("slow cart", "passed", 0.0)
    assert credit(passed, 7 * DAY) == 1
    assert credit(passed, 37 * DAY) == 0.5
    assert credit(passed, 67 * DAY) == 0.25
    assert credit(passed, -DAY) == 1


def test_what_was_not_run_is_not_counted_as_passed() -> None:
    experiments = [
        Experiment("a", "passed", 0.0),
        Experiment("b", "failed", 0.0),
        Experiment("c", "inconclusive", 0.0),
        Experiment("d", None),
    ]
    found = resilience("cart", experiments, now=DAY)
    assert found is not None
    assert (found.score, found.passed, found.failed, found.unproven) == (25.0, 1, 1, 2)
    assert resilience("cart", [], now=0.0) is None
    with pytest.raises(ValueError, match="more than once"):
        resilience("cart", [experiments[0], experiments[0]], now=0.0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["passed", "failed", "inconclusive", None]), st.floats(0, 1e9)),
        min_size=1,
        max_size=9,
    ),
    st.floats(0, 1e9),
)
def test_no_score_passes_a_hundred_and_time_alone_never_raises_it(
    ends: list[tuple[str | None, float]], later: float
) -> None:
    experiments = [Experiment(str(number), verdict, ended) for number, (verdict, ended) in enumerate(ends)]
    first, then = resilience("x", experiments, 1e9), resilience("x", experiments, 1e9 + later)
    assert first is not None
    assert then is not None
    assert 0 <= then.score <= first.score <= 100

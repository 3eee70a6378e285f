"""The figures of the demonstration: quantiles, windows, and what a window holds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftchaos.demo.load import NO_ANSWER, Sample
from raftchaos.demo.statistics import StepWindows, Window, quantile, step_windows, summarize


def test_quantiles_are_values_that_occurred() -> None:
    values = [0.1 * n for n in range(1, 101)]
    assert quantile(values, 0.5) == pytest.approx(5.0)
    assert quantile(values, 0.95) == pytest.approx(9.5)
    assert quantile(values, 1.0) == pytest.approx(10.0)
    assert quantile([7.0], 0.5) == 7.0
    assert quantile([], 0.5) is None


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_not_exceeded_by_its_part_of_the_values(values: list[float], q: float) -> None:
    found = quantile(values, q)
    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) - 1e-9
    assert sum(value < found for value in values) < q * len(values) + 1e-9


def test_a_window_holds_what_was_due_in_it() -> None:
    samples = [Sample(due, 0.010, 200) for due in (0.9, 1.0, 1.5, 1.999, 2.0)]
    summary = summarize(samples, Window(1.0, 2.0))
    assert summary.requests == 3
    assert summary.rate == 3.0
    assert summary.p50 == summary.p95 == 0.010
    assert summary.error_share == 0


def test_failed_requests_count_for_errors_and_for_latency() -> None:
    samples = [Sample(0.1, 0.01, 200), Sample(0.2, 2.0, 503), Sample(0.3, 5.0, NO_ANSWER), Sample(0.4, 0.01, 404)]
    summary = summarize(samples, Window(0, 1))
    assert summary.errors == 3
    assert summary.error_share == 0.75
    assert summary.p95 == 5.0
    assert summary.to_dict() == {
        "requests": 4, "ratePerSecond": 4.0, "p50Ms": 10.0, "p95Ms": 5000.0, "errorShare": 0.75,
    }  # fmt: skip


def test_an_empty_window_says_so() -> None:
    summary = summarize([], Window(1, 1))
    assert (summary.rate, summary.p50, summary.error_share) == (0.0, None, None)


def test_windows_lie_around_their_steps() -> None:
    first, second = step_windows([(10, 15), (18, 23)], calm=3, settle=0.5, lead=0.25)
    assert first == StepWindows(Window(7, 9.75), Window(10, 15), Window(15.5, 17.75))
    assert second == StepWindows(Window(15.5, 17.75), Window(18, 23), Window(23.5, 26.5))


def test_windows_never_reach_into_a_neighbour() -> None:
    first, second = step_windows([(10, 15), (15.2, 20)], calm=3, settle=0.5)
    assert first.after.seconds == 0
    assert second.before.seconds == 0


@given(st.lists(st.floats(0.1, 20), min_size=2, max_size=10))
def test_windows_of_any_steps_are_in_order(parts: list[float]) -> None:
    marks = list(itertools.accumulate(parts))
    spans = [(marks[n], marks[n + 1]) for n in range(0, len(marks) - 1, 2)]
    for (start, end), windows in zip(spans, step_windows(spans, 3.0), strict=True):
        assert windows.during == Window(start, end)
        assert windows.before.start <= windows.before.end < start
        assert end <= windows.after.start <= windows.after.end


def test_samples_travel_as_lines() -> None:
    sample = Sample(1700000000.123456, 0.012345, 502)
    assert Sample.from_json(sample.to_json()) == sample
    assert sample.failed
    assert not Sample(0, 0, 204).failed
    assert Sample(0, 0, NO_ANSWER).failed

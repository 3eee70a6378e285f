"""Recording: what goes in comes out of the bucket of its time, whatever the order, the clock, the number of names."""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftchaos import limits
from raftchaos.analytics.recording import storage
from raftchaos.analytics.recording.analytics import ChaosAnalytics
from raftchaos.analytics.recording.events import ChaosEvent
from raftchaos.analytics.recording.readings import Machine
from raftchaos.core.cells import Cell
from raftchaos.core.histogram import LogHistogram
from raftchaos.errors import NotFound, RaftchaosError, UsageError

T0 = 1_700_000_000
KEPT = {1: 3600, 60: 2880, 300: 2016, 3600: 720, 86_400: 366}


class SetClock:
    """A clock that shows what it is set to."""

    def __init__(self, now: float = T0) -> None:
        self.now = now

    def wall(self) -> float:
        return self.now

    def boot(self) -> float:
        return 0.0


EVENTS = st.lists(
    st.tuples(
        st.one_of(st.integers(T0 - 8000, T0 + 8000), st.integers(T0 - 400 * 86_400, T0)),
        st.sampled_from(["request", "shaped"]),
        st.sampled_from(["", "/a", "/b"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.integers(1, 60))
def test_rings_hold_what_a_plain_dict_does(events: list[tuple[int, str, str, bool]], batch: int) -> None:
    """The present rises with the newest event; whatever is kept then, at any resolution, is exact."""
    analytics = ChaosAnalytics()
    model: dict[int, Counter[int]] = {step: Counter() for step in KEPT}
    newest = 0
    for begin in range(0, len(events), batch):
        part = events[begin : begin + batch]
        at, types, endpoints, errors = zip(*part, strict=True)
        analytics.record_events(at, types, endpoint=endpoints, error=errors)
        for when in sorted(at):
            newest = max(newest, when)
            for step, size in KEPT.items():
                if when // step > newest // step - size:
                    model[step][when // step] += 1
    for step, size in KEPT.items():
        first = newest // step - size + 1
        series = analytics.series("total_events", first * step, newest + 1, step)
        assert np.nan_to_num(series.values).tolist() == [model[step][first + place] for place in range(size)]
    days = analytics.counts(newest - 366 * 86_400, newest + 1, 86_400)
    kept = [event for event in events if event[0] // 86_400 > newest // 86_400 - 366]
    if all(event in kept for event in events):
        assert days.get("endpoint", {}) == Counter(endpoint for _, _, endpoint, _ in events if endpoint)
        assert days["type"] == Counter(kind for _, kind, _, _ in events)


def test_one_by_one_in_batches_and_in_cells_is_the_same() -> None:
    chance = random.Random(5)
    rows = [
        (
            T0 + chance.random() * 60,
            chance.choice(["/a", "/b", ""]),
            chance.choice([200, 503]),
            chance.expovariate(0.1),
        )
        for _ in range(500)
    ]
    single, batched, celled = ChaosAnalytics(), ChaosAnalytics(), ChaosAnalytics()
    for at, endpoint, status, latency in rows:
        single.record_event("request", at=at, endpoint=endpoint, status=status, latency_ms=latency)
    at, endpoint, status, latency = zip(*rows, strict=True)
    batched.record_events(at, "request", endpoint=endpoint, status=status, latency_ms=latency)
    for cell in batched.cells(T0, T0 + 60, 1):
        celled.record_cell(Cell.decode(cell.encode()))
    for metric in (
        "requests",
        "errors",
        "error_ratio",
        "latency_p95",
        'latency_p50{endpoint="/a"}',
        'errors{status="503"}',
    ):
        expected = single.series(metric, T0, T0 + 60, 20).values
        assert np.array_equal(expected, batched.series(metric, T0, T0 + 60, 20).values, equal_nan=True), metric
        assert np.array_equal(expected, celled.series(metric, T0, T0 + 60, 20).values, equal_nan=True), metric
    true = np.quantile([row[3] for row in rows], 0.95, method="inverted_cdf")
    assert single.series("latency_p95", T0 - T0 % 3600, T0 + 60, 3600).values[0] == pytest.approx(true, rel=0.011)


def test_cells_of_two_peers_merge_exactly() -> None:
    whole, first, second, merged = (ChaosAnalytics() for _ in range(4))
    for place in range(200):
        for analytics in (whole, first if place % 3 else second):
            failed = place % 7 == 0
            analytics.record_event("request", at=T0 + place, endpoint="/a", latency_ms=1.0 + place, error=failed)
    for analytics in (first, second):
        for cell in analytics.cells(T0, T0 + 200, 60):
            merged.record_cell(cell)
    for metric in ("total_events", "errors", "latency_p99", 'latency_p50{endpoint="/a"}'):
        expected = whole.series(metric, T0, T0 + 200, 60).values
        assert np.array_equal(merged.series(metric, T0, T0 + 200, 60).values, expected), metric


def test_quiet_is_zero_and_unknown_is_a_gap() -> None:
    analytics = ChaosAnalytics()
    assert np.isnan(analytics.series("requests", T0, T0 + 5, 1).values).all()
    analytics.record_event("request", at=T0)
    analytics.record_event("request", at=T0 + 5)
    assert analytics.series("requests", T0 - 1, T0 + 7, 1).values.tolist()[1:-1] == [1, 0, 0, 0, 0, 1]
    analytics.gap()
    analytics.record_event("request", at=T0 + 10)
    values = analytics.series("requests", T0 - 1, T0 + 12, 1).values
    assert np.isnan(values[[0, 7, 8, 9, 10, 12]]).all()
    assert values[11] == 1
    assert np.isnan(analytics.series("error_ratio", T0 + 1, T0 + 5, 1).values).all()


def test_steps_of_the_clock_leave_nothing_behind() -> None:
    clock = SetClock()
    analytics = ChaosAnalytics(clock)

    def second_of_traffic() -> None:
        analytics.record_cell(Cell(int(clock.now), counts={"type": {"request": (10, 1)}}))

    for _ in range(3600):
        second_of_traffic()
        clock.now += 1
    clock.now += 365 * 86_400  # a year forward, for ten minutes
    for _ in range(600):
        second_of_traffic()
        clock.now += 1
    clock.now -= 365 * 86_400 + 600
    for _ in range(1200):
        second_of_traffic()
        clock.now += 1
    values = analytics.series("requests", clock.now - 1200, clock.now, 1).values
    assert values.tolist() == [10] * 1200
    assert np.nansum(analytics.series("requests", T0 - 3600, clock.now, 3600).values) == 48_000
    clock.now -= 3600  # an hour back: these seconds happen twice
    for _ in range(60):
        second_of_traffic()
        clock.now += 1
    assert set(analytics.series("requests", clock.now - 60, clock.now, 1).values.tolist()) <= {10.0, 20.0}
    assert analytics.series("requests", clock.now - 60, clock.now, 60).values.max() >= 600
    assert analytics.dropped["late"] == analytics.dropped["ahead"] == 0
    analytics.record_event("request", at=clock.now + 400)
    analytics.record_event("request", at=clock.now - 400 * 86_400)
    analytics.metrics()
    assert analytics.dropped["late"] == analytics.dropped["ahead"] == 1


def test_names_are_bounded_and_idle_ones_make_room() -> None:
    analytics = ChaosAnalytics()
    names = [f"/{number}" for number in range(limits.EVENT_ENDPOINTS + 50)]
    analytics.record_events([T0] * len(names), "request", endpoint=names)
    counts = analytics.counts(T0, T0 + 1, 1)["endpoint"]
    assert len(counts) == limits.EVENT_ENDPOINTS + 1
    assert counts["other"] == 50
    later = T0 + limits.EVENT_IDLE + 60
    analytics.record_events([later] * 2, "request", endpoint=["/new", "/0"])
    analytics.record_event("request", at=later + 1, endpoint="/new")
    counts = analytics.counts(T0 - 3600, later + 3600, 3600)["endpoint"]
    assert counts["/new"] == 1
    assert counts["/0"] == 2
    assert counts["other"] == 52  # the first of /new, and the one of whom made room
    assert sum(counts.values()) == len(names) + 3


def test_the_busiest_endpoints_have_latencies() -> None:
    analytics = ChaosAnalytics()
    for place in range(120):
        analytics.record_events([T0 + place] * 30, "request", endpoint=[f"/{n}" for n in range(30)], latency_ms=5.0)
        analytics.record_events([T0 + place] * 100, "request", endpoint="/busy", latency_ms=50.0)
    busy = analytics.series('latency_p50{endpoint="/busy"}', T0 + 60, T0 + 120, 60).values
    assert busy[-1] == pytest.approx(50, rel=0.01)
    kept = [
        np.isfinite(analytics.series(f'latency_p50{{endpoint="/{n}"}}', T0 + 60, T0 + 120, 60).values).any()
        for n in range(30)
    ]
    assert sum(kept) == limits.EVENT_BUSIEST - 1


def test_readings_are_means(tmp_path: Path) -> None:
    analytics = ChaosAnalytics()
    analytics.record_reading(T0, cpu_percent=10, open_files=5)
    analytics.record_reading(T0 + 1, cpu_percent=30)
    base = T0 - T0 % 60
    assert analytics.series("cpu_percent", base, base + 60, 60).values.tolist() == [20]
    assert analytics.series("open_files", base, base + 60, 60).values.tolist() == [5]
    assert np.isnan(analytics.series("disk_percent", base, base + 60, 60).values).all()
    with pytest.raises(UsageError, match="cpu_percent"):
        analytics.record_reading(T0, heat=3)
    reading = Machine(tmp_path).read()
    assert reading["open_files"] > 0
    assert 0 < reading["memory_percent"] <= 100
    analytics.record_reading(T0 + 2, **reading)


def test_bad_questions_and_bad_events_are_told() -> None:
    analytics = ChaosAnalytics()
    analytics.record_event("request", at=T0, endpoint="/cart")
    with pytest.raises(NotFound, match="total_events") as caught:
        analytics.series("no_such_metric", T0, T0 + 60)
    assert "events.request" in caught.value.details["known"]
    for metric in ('requests{endpoint="/nowhere"}', 'latency_p95{node="n1"}', "events.nothing", "requests{", ""):
        with pytest.raises(NotFound):
            analytics.series(metric, T0, T0 + 60)
    for start, end, step in ((T0 + 60, T0, 60), (T0, T0 + 60, 0), (0, T0, 1), (math.nan, T0, 60)):
        with pytest.raises(UsageError, match="expected"):
            analytics.series("requests", start, end, step)
    for wrong in (
        {"at": T0 * 1000.0},
        {"at": math.nan},
        {"endpoint": "x" * 257},
        {"status": 1000},
        {"latency_ms": -1},
        {"latency_ms": "3"},
        {"node": 7},
        {"node": None},
    ):
        with pytest.raises(UsageError, match=r"found .* expected"):
            analytics.record_event("request", **{"at": T0, **wrong})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="one for each"):
        analytics.record_events([T0, T0], "request", endpoint=["/a"])
    with pytest.raises(UsageError, match="expected"):
        analytics.record_events([T0, math.nan], "request")
    with pytest.raises(UsageError, match="expected"):
        ChaosEvent.read({"at": T0, "type": "request", "password": "x"})
    assert analytics.counts(T0, T0 + 1, 1)["type"] == {"request": 1}


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_cell_are_told(data: bytes) -> None:
    with pytest.raises(UsageError, match="found"):
        Cell.decode(data)


def test_a_recording_survives_a_restart_and_a_damaged_file_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    analytics = storage.load(tmp_path)
    for place in range(500):
        analytics.record_event("request", at=T0 + place, endpoint="/a", node="n1", latency_ms=place, status=200)
    analytics.record_reading(T0, cpu_percent=10)
    storage.save(analytics, tmp_path)
    again = storage.load(tmp_path)
    for metric in ("requests", 'latency_p95{endpoint="/a"}', "cpu_percent", 'requests{node="n1"}'):
        expected = analytics.series(metric, T0, T0 + 500, 60).values
        assert np.array_equal(again.series(metric, T0, T0 + 500, 60).values, expected, equal_nan=True), metric
    again.record_event("request", at=T0 + 700, endpoint="/a", latency_ms=3)
    assert np.isnan(again.series("requests", T0 + 520, T0 + 690, 1).values).all()
    whole = (tmp_path / storage.FILE).read_bytes()
    (tmp_path / storage.FILE).write_bytes(whole[:100] + b"x" + whole[101:])
    with caplog.at_level(logging.ERROR):
        empty = storage.load(tmp_path)
    assert "set aside" in caplog.text
    assert empty.counts(T0, T0 + 500, 60) == {}
    assert (tmp_path / "recording.damaged").exists()


@pytest.mark.parametrize("path", [("version",), ("names", "endpoint"), ("rings",), ("rings", 0, "counts"), ("spans",)])
def test_a_snapshot_that_is_none_is_told(path: tuple[str | int, ...]) -> None:
    analytics = ChaosAnalytics()
    analytics.record_event("request", at=T0)
    data = analytics.snapshot()
    part = data
    for key in path[:-1]:
        part = part[key]  # type: ignore[index]
    part[path[-1]] = ["damaged"]  # type: ignore[index]
    with pytest.raises(RaftchaosError, match="damaged"):
        ChaosAnalytics.restored(data)


def test_samples_and_what_was_not_sampled() -> None:
    analytics = ChaosAnalytics()
    sample = {"at": T0 + 0.5, "type": "request", "endpoint": "/a", "status": 200, "latency_ms": 3.0}
    cell = Cell(T0, 1, {"type": {"request": (100, 0)}}, {"": LogHistogram({100: 100})}, [sample], 99)
    analytics.record_cell(Cell.decode(cell.encode()), node="n1")
    assert analytics.recent[-1].endpoint == "/a"
    assert analytics.dropped["unsampled"] == 99
    assert analytics.counts(T0, T0 + 1, 1)["node"] == {"n1": 100}

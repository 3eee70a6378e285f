"""The log histogram: within 1 % of the true quantile, exact merges, one packed form that is checked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftchaos.analytics.recording.histogram import Part, buckets_of, histogram, pack, quantile, unpack
from raftchaos.core.histogram import ACCURACY, BUCKETS, HIGHEST, LOWEST, LogHistogram, bucket_of, rank_of
from raftchaos.errors import DataCorrupt, UsageError

VALUES = st.floats(min_value=LOWEST * 1.0001, max_value=HIGHEST)
MANY = st.lists(VALUES, min_size=1, max_size=200)
COUNTS = st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(1, 2**40), max_size=50)


def filled(values: list[float]) -> LogHistogram:
    counted = LogHistogram()
    for value in values:
        counted.add(value)
    return counted


@given(MANY, st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0]))
def test_a_quantile_is_within_one_percent_of_the_true_one(values: list[float], q: float) -> None:
    true = sorted(values)[rank_of(q, len(values)) - 1]
    bound = ACCURACY * true * (1 + 1e-9)
    assert abs(filled(values).quantile(q) - true) <= bound
    assert abs(quantile(histogram(np.array(values)), q) - true) <= bound


@given(MANY, MANY, MANY)
def test_merging_is_adding(first: list[float], second: list[float], third: list[float]) -> None:
    merged = filled(second)
    merged.merge(filled(third))
    merged.merge(filled(first))
    assert merged.counts == filled(first + second + third).counts


@given(MANY)
def test_numpy_counts_as_the_dict_does(values: list[float]) -> None:
    assert np.abs(buckets_of(np.array(values)) - [bucket_of(value) for value in values]).max() <= 1  # a rounding apart
    assert histogram(np.array(values)).sum() == len(values)


def test_what_is_out_of_range_is_counted_at_its_ends() -> None:
    counted = filled([0.0, -1.0, LOWEST, 1e300, math.inf])
    assert counted.counts == {0: 3, BUCKETS - 1: 2}
    assert counted.quantile(0) == 0.0
    assert counted.quantile(1) == pytest.approx(HIGHEST, rel=ACCURACY)
    assert buckets_of(np.array([0.0, -1.0, LOWEST, 1e300, math.inf])).tolist() == [0, 0, 0, BUCKETS - 1, BUCKETS - 1]
    assert math.isnan(LogHistogram().quantile(0.5))


@given(COUNTS)
def test_the_packed_form_holds_everything(counts: dict[int, int]) -> None:
    assert LogHistogram.unpacked(LogHistogram(counts).packed()).counts == counts


@pytest.mark.parametrize(
    "data",
    [None, {}, [1], [0, 1, 0, 1], [BUCKETS, 1], [-1, 1], [1, 1.0], [1, True], [1, 2**60], [1, 1] * BUCKETS + [1, 1]],
)
def test_what_is_no_packed_form_is_refused(data: object) -> None:
    with pytest.raises(UsageError, match="found"):
        LogHistogram.unpacked(data)


@settings(max_examples=20)
@given(st.lists(COUNTS, max_size=21))
def test_many_histograms_are_packed_into_one_blob(many: list[dict[int, int]]) -> None:
    parts = [
        Part(
            owner,
            np.array(sorted(counts), dtype=np.int64),
            np.array([counts[b] for b in sorted(counts)], dtype=np.int64),
        )
        for owner, counts in enumerate(many)
    ]
    again = unpack(pack(parts))
    assert [part.owner for part in again] == list(range(len(many)))
    assert [dict(zip(part.buckets.tolist(), part.counts.tolist(), strict=True)) for part in again] == many


@given(st.binary(max_size=100))
def test_bytes_that_are_no_blob_are_told(data: bytes) -> None:
    with pytest.raises(DataCorrupt):
        unpack(data)

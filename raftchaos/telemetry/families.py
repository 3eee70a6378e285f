"""Families of the catalogue, made from samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from raftchaos.telemetry.catalogue import BY_NAME

Family = GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily
Sample = tuple[Sequence[str], float]


def family(name: str, samples: Iterable[Sample]) -> Family:
    """The family of this name in the catalogue, with these samples. Raises KeyError for another name."""
    metric = BY_NAME[name]
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    made = kind(name, metric.meaning, labels=list(metric.labels))
    for labels, value in samples:
        made.add_metric(list(labels), float(value))
    return made


def single(name: str, value: float) -> Family:
    """A family without labels."""
    return family(name, [((), value)])


def by_label(name: str, values: Mapping[str, float]) -> Family:
    """A family with one label."""
    return family(name, [((key,), value) for key, value in values.items()])

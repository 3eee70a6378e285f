"""The six types of anomaly on generated series: put in at a known time, and on weeks in which nothing happens.

Reported of each type: precision (of the incidents that were opened), recall, delay in minutes from the beginning of
what was put in, what was left of it then, and false alarms for each metric and week of minutes of quiet data. All
series have a seed.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from benchmarks.report import machine, show, table
from raftchaos.analytics.anomalies.cascade import CascadeWatch
from raftchaos.analytics.anomalies.counts import CountWatch
from raftchaos.analytics.anomalies.errors import ErrorWatch
from raftchaos.analytics.anomalies.exhaustion import ExhaustionWatch
from raftchaos.analytics.anomalies.incidents import HOLD, Incidents
from raftchaos.analytics.anomalies.latency import LatencyWatch
from raftchaos.analytics.anomalies.signal import Signal
from raftchaos.analytics.series import Floats
from raftchaos.model.findings.anomaly import Anomaly

DAY = 1_440
WEEK = 7 * DAY
Generator = np.random.Generator


@dataclass(frozen=True)
class Case:
    """The signals of one series; what was put in began and ended in these minutes (None: nothing was)."""

    signals: Iterator[Signal | None]
    begin: float | None = None
    end: float | None = None
    truth: tuple[str, ...] = ()


@dataclass
class Tally:
    """What was found in the cases of one kind."""

    cases: int = 0
    found: int = 0
    opened: int = 0
    right: int = 0
    delays: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)

    def add(self, case: Case) -> None:
        """Run a case. An incident is right if it was opened while what was put in lasted, or in what it left behind."""
        incidents = Incidents()
        told = [incidents.observe(signal)[-1] for signal in case.signals if signal is not None]
        first = {one.id: one for one in reversed(told)}
        self.cases += 1
        self.opened += len(first)
        good = [one for one in first.values() if _right(one, case)]
        self.right += len(good)
        if good and case.begin is not None:
            self.found += 1
            self.delays.append(min(one.updated_at for one in good) / 60 - case.begin)
            self.left.append((case.end or case.begin) - case.begin - self.delays[-1])

    def result(self) -> dict[str, float]:
        """Precision, recall, and quantiles of the delay."""
        delays = np.array(self.delays or [math.nan])
        return {
            "series": self.cases,
            "precision": round(self.right / max(self.opened, 1), 3),
            "recall": round(self.found / self.cases, 3),
            "within2Minutes": round(float((delays <= 2.01).sum()) / self.cases, 3),
            "within5Minutes": round(float((delays <= 5.01).sum()) / self.cases, 3),
            "medianDelayMinutes": round(float(np.median(delays)), 2),
            "p95DelayMinutes": round(float(np.quantile(delays, 0.95)), 2),
            "medianMinutesLeft": round(float(np.median(self.left or [math.nan])), 2),
        }


def _right(one: Anomaly, case: Case) -> bool:
    if case.begin is None or case.end is None:
        return False
    in_time = case.begin < one.updated_at / 60 <= case.end + HOLD / 60
    places = [case.truth.index(name) for name in one.affected if name in case.truth]
    return in_time and (not case.truth or (len(places) == len(one.affected) and places == sorted(places)))


def rhythm(minutes: int, swing: float, generator: Generator) -> Floats:
    """A daily rhythm around 1 with a random phase."""
    return 1 + swing * np.sin(2 * np.pi * (np.arange(minutes) / DAY + generator.random()))


def wandering(length: int, rho: float, generator: Generator) -> Floats:
    """AR(1) with a variance of 1."""
    noise = generator.normal(size=length) * math.sqrt(1 - rho * rho)
    values = np.zeros(length)
    for place in range(1, length):
        values[place] = rho * values[place - 1] + noise[place]
    return values


def counts(factor: float, lasting: int, base: float, *alphas: float) -> Callable[[Generator, int], Case]:
    """Counts with a daily rhythm, Poisson where α is 0 and else negative-binomial (variance M + α M²); for some minutes
    they are `factor` times as many as `base`."""

    def make(generator: Generator, quiet: int) -> Case:
        length = quiet or DAY + 60 + int(generator.integers(300)) + lasting
        mean = base * rhythm(length, generator.uniform(0, 0.6), generator)
        begin = length - lasting if not quiet else length
        if not quiet:
            mean *= base / mean[begin]
        mean[begin:] *= factor
        alpha = generator.choice(alphas)
        values = generator.poisson(mean * generator.gamma(1 / alpha, alpha, length) if alpha else mean)
        watch = CountWatch("events")
        signals = (watch.update(60.0 * place, float(value)) for place, value in enumerate(values))
        return Case(signals) if quiet else Case(signals, begin, length)

    return make


def latency(generator: Generator, quiet: int) -> Case:
    """Log-normal latencies with a daily rhythm and neighbours that are alike; for 15 minutes 1.5 to 4 times as long."""
    length = quiet or DAY + 60 + int(generator.integers(300))
    noise = generator.uniform(0.03, 0.15) * wandering(length, generator.uniform(0, 0.7), generator)
    values = 100 * rhythm(length, 0.3, generator) * np.exp(noise)
    begin = length - 15 if not quiet else length
    values[begin:] *= generator.uniform(1.5, 4)
    watch = LatencyWatch("latency_p95")
    signals = (watch.update(60.0 * place, value) for place, value in enumerate(values.tolist()))
    return Case(signals) if quiet else Case(signals, begin, length)


def errors(generator: Generator, quiet: int) -> Case:
    """Shares of errors that vary by a beta distribution; for 15 minutes 5 to 30 % more."""
    length = quiet or 60 + int(generator.integers(300))
    requests = generator.poisson(float(generator.choice([30, 100, 1000])) * rhythm(length, 0.5, generator)) + 1
    base = generator.choice([0.0005, 0.005, 0.02])
    certain = generator.choice([200.0, 1000.0, 5000.0])
    share = generator.beta(base * certain, (1 - base) * certain, length)
    begin = length - 15 if not quiet else length
    share[begin:] = np.minimum(share[begin:] + generator.uniform(0.05, 0.3), 1)
    failed = generator.binomial(requests, share)
    watch = ErrorWatch("error_ratio")
    pairs = zip(failed.tolist(), requests.tolist(), strict=True)
    signals = (watch.update(60.0 * place, one, all_) for place, (one, all_) in enumerate(pairs))
    return Case(signals) if quiet else Case(signals, begin, length)


def exhaustion(generator: Generator, quiet: int) -> Case:
    """A level that wanders, or falls back to where it began again and again; then it rises and reaches 100 in one to
    eight hours. Right is what is said before that."""
    before = quiet or 60 + int(generator.integers(300))
    rise = 0 if quiet else int(generator.integers(60, 480))
    level = generator.uniform(20, 60)
    values = level + generator.uniform(0.2, 2) * wandering(before + rise, generator.uniform(0, 0.95), generator)
    values += 5 * rhythm(before + rise, 1.0, generator)
    if generator.random() < 0.3:
        period = int(generator.integers(10, 90))
        values += generator.uniform(2, 20) * (np.arange(before + rise) % period) / period
    if not quiet:
        values[before:] += np.linspace(0, 100 - level - 5, rise)
    watch = ExhaustionWatch("memory_percent")
    signals = (watch.update(60.0 * place, min(value, 100.0)) for place, value in enumerate(values.tolist()))
    return Case(signals) if quiet else Case(signals, before, before + rise)


def cascade(generator: Generator, quiet: int) -> Case:
    """Eight services in steps of ten seconds; three to five of them go bad one after the other, 10 to 60 s apart. On
    quiet data one or two go bad by themselves every hour."""
    length = quiet * 6 or 200
    names = [f"s{number}" for number in range(8)]
    values = np.array([wandering(length, 0.5, generator) for _ in names])
    shape = np.concatenate([np.linspace(0.4, 1, 4), np.ones(20)]) * (1 + 0.3 * generator.normal(size=24))
    chosen = generator.permutation(8)[: int(generator.integers(3, 6))]
    start = 120
    if quiet:
        for hour in range(1, length // 360):
            for place in generator.permutation(8)[: int(generator.integers(1, 3))]:
                at = hour * 360 + int(generator.integers(0, 300))
                values[place, at : at + 24] += 20 * (1 + 0.3 * generator.normal(size=24))
    else:
        at = start
        for place in chosen:
            values[place, at : at + 24] += generator.uniform(10, 40) * shape[: length - at]
            at += int(generator.integers(1, 7))
    watch = CascadeWatch("error_ratio")
    columns = values.T.tolist()
    signals = (watch.update(10.0 * step, dict(zip(names, row, strict=True))) for step, row in enumerate(columns))
    return Case(signals) if quiet else Case(signals, start / 6, length / 6, tuple(names[place] for place in chosen))


KINDS: dict[str, Callable[[Generator, int], Case]] = {
    "event_spike, 5 a minute": counts(3, 10, 5.0, 0.0),
    "event_spike, 5 a minute, clustered": counts(3, 10, 5.0, 0.02, 0.1),
    "event_spike, 50 a minute": counts(3, 10, 50.0, 0.0),
    "event_spike, 50 a minute, clustered": counts(3, 10, 50.0, 0.02, 0.1),
    "unexpected_quiet, 5 a minute": counts(0.1, 60, 5.0, 0.0, 0.02, 0.1),
    "unexpected_quiet, 50 a minute": counts(0.1, 60, 50.0, 0.0, 0.02, 0.1),
    "latency_anomaly": latency,
    "high_error_rate": errors,
    "resource_exhaustion": exhaustion,
    "cascading_failure": cascade,
}


def main(arguments: list[str]) -> None:
    """Measure, and print a table and JSON."""
    parser = argparse.ArgumentParser(prog="analytics.py synthetic", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--series", type=int, default=1000, help="with an anomaly, of each type")
    parser.add_argument("--weeks", type=int, default=20, help="of quiet minutes, of each type")
    parser.add_argument("--only", default="", help="types whose name begins so")
    chosen = parser.parse_args(arguments)
    result = {}
    for number, (name, make) in enumerate(KINDS.items()):
        if not name.startswith(chosen.only):
            continue
        tally, quiet = Tally(), Tally()
        for seed in range(chosen.series // (2 if "minute" in name else 1)):
            tally.add(make(np.random.default_rng([number, seed]), 0))
        weeks = max(1, chosen.weeks // (1 if make is not cascade else 5))  # eight services at six steps a minute each
        for seed in range(weeks):
            quiet.add(make(np.random.default_rng([number, seed, 1]), WEEK))
        result[name] = {**tally.result(), "falseAlarmsAWeek": round(quiet.opened / weeks, 2), "weeks": weeks}
        print(name, result[name], file=sys.stderr)
    rows = [[name, *values.values()] for name, values in result.items()]
    head = (
        "type",
        "series",
        "precision",
        "recall",
        "≤ 2 min",
        "≤ 5 min",
        "delay p50",
        "p95",
        "left p50",
        "false alarms a week",
        "weeks",
    )
    show({"types": result, "machine": machine()}, table(head, rows))

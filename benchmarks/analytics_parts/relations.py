"""How often correlation, impact and comparison are wrong, on series whose truth is known.

`n` values a series, errors that are AR(1) with coefficient ρ.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from raftchaos.analytics.relations.correlation import correlations
from raftchaos.analytics.relations.impact import impact_by_time
from raftchaos.analytics.relations.measured import Requests, quantile_change
from raftchaos.analytics.series import Series

EDGES = np.geomspace(0.1, 100_000.0, 700)


def main(arguments: list[str]) -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(prog="analytics.py relations", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--series", type=int, default=500, help="of each kind")
    count: int = parser.parse_args(arguments).series
    print(json.dumps({"correlation": correlation(count), "impact": impact(count), "change": change(count)}, indent=2))


def autoregression(generator: np.random.Generator, length: int, rho: float) -> np.ndarray:
    """AR(1) with a variance of 1."""
    noise = generator.normal(size=length + 300) * np.sqrt(1 - rho * rho)
    values = np.zeros(length + 300)
    for place in range(1, len(values)):
        values[place] = rho * values[place - 1] + noise[place]
    return values[300:]


def correlation(count: int) -> list[dict[str, float]]:
    """Pairs that have nothing to do with each other (5 % may be told), and pairs of which one follows the other."""
    rows = []
    for rho in (0.0, 0.6, 0.95):
        for length in (120, 600):
            alarms = found = 0
            for number in range(count):
                generator = np.random.default_rng([number, length, round(100 * rho)])
                one, two = (autoregression(generator, length, rho) for _ in range(2))
                follower = 0.5 * np.concatenate([np.zeros(4), one[:-4]]) + np.sqrt(0.75) * two
                alarms += bool(correlations({"a": _series(one), "b": _series(two)}, 12))
                told = correlations({"a": _series(one), "b": _series(follower)}, 12)
                found += bool(told) and (told[0].first, told[0].lag_seconds) == ("a", 240.0)
            rows.append({"n": length, "rho": rho, "false": alarms / count, "found_with_its_lag": found / count})
    return rows


def impact(count: int) -> list[dict[str, float]]:
    """How often the 95 % interval of an interrupted series holds the true effect of 3 standard deviations."""
    rows = []
    for rho in (0.0, 0.3, 0.6, 0.9):
        for length in (60, 150, 600):
            held, width = 0, 0.0
            for number in range(count):
                generator = np.random.default_rng([number, length, round(100 * rho), 7])
                values = autoregression(generator, length, rho)
                start, end = round(length * 0.4), round(length * 0.7)
                values[start:end] += 3.0
                series = _series(values)
                effect = impact_by_time("x", "", series, series.times[start], series.times[end]).effect
                if effect.low is not None and effect.high is not None:
                    held += effect.low <= 3.0 <= effect.high
                    width += effect.high - effect.low
            rows.append({"n": length, "rho": rho, "coverage": held / count, "mean_width": round(width / count, 2)})
    return rows


def change(count: int) -> list[dict[str, float]]:
    """How often the interval of a change of quantiles holds the truth, when whole seconds are slow or fast together."""
    rows = []
    for together in (0.0, 0.3):
        for blocks in (30, 120):
            held = {0.5: 0, 0.95: 0}
            for number in range(count):
                generator = np.random.default_rng([number, blocks, round(10 * together), 9])
                first, second = (_requests(generator, blocks, median, together) for median in (40.0, 60.0))
                for share, normal in ((0.5, 0.0), (0.95, 1.6449)):
                    truth = 20.0 * np.exp(normal * np.hypot(0.5, together))
                    estimate = quantile_change(first, second, share, number)
                    if estimate.low is not None and estimate.high is not None:
                        held[share] += estimate.low <= truth <= estimate.high
            rows.append(
                {"blocks": blocks, "spread_of_seconds": together}
                | {f"coverage_p{round(100 * share)}": total / count for share, total in held.items()}
            )
    return rows


def _series(values: np.ndarray) -> Series:
    return Series.regular(1_700_000_000.0, 60.0, values)


def _requests(generator: np.random.Generator, blocks: int, median: float, together: float) -> Requests:
    """50 requests a block, log-normal around a median that is the block's own."""
    level = together * np.repeat(generator.normal(size=blocks), 50).reshape(blocks, 50)
    latencies = median * np.exp(level + generator.normal(0, 0.5, size=(blocks, 50)))
    counts = np.stack([np.histogram(row, bins=np.append(EDGES, np.inf))[0] for row in latencies]).astype(np.float64)
    return Requests(EDGES, counts, np.zeros(blocks), np.full(blocks, 50.0))

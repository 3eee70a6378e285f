"""Trends on series whose truth is known: false positives, power, what a confidence is worth, change points."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from benchmarks.report import machine, show, table
from raftchaos.analytics.series import Series
from raftchaos.analytics.trends.significance import least_squares, mann_kendall
from raftchaos.analytics.trends.trend import LEAST_INDEPENDENT, find_trend

LENGTHS = {
    60: 1.0,
    300: 1.0,
    1_440: 0.4,
}  # readings, and which share of the series is made of them: long ones take long
RHOS = (0.0, 0.3, 0.6, 0.9)
CHANGE = 3.0  # deviations of the series that a slope or a step amounts to
LEVEL = 20.0  # deviations: far enough from 0 that noise alone is stable
STEPS = 0.05  # readings around a step that count as found, as a share of the series
SEED = 7
Values = NDArray[np.float64]


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="benchmarks/analytics.py trends", description=__doc__)
    parser.add_argument("--series", type=int, default=400, help="of each kind (default 400)")
    count = parser.parse_args(arguments).series
    rng = np.random.default_rng(SEED)
    cells = []
    for length, share in LENGTHS.items():
        for rho in RHOS:
            cells.append(_cell(rng, length, rho, max(1, int(share * count))))
            print(cells[-1], file=sys.stderr, flush=True)
    calibrated = list(_calibration(rng, 5 * count))
    classes = _classes(rng, count)
    head = ("n", "ρ", "GLS", "Mann–Kendall", "told", "unknown", "found", "change points", "step found", "ms")
    text = table(head, [tuple(cell.values()) for cell in cells])
    text += "\n\n" + table(("probability said", "series", "rose"), [tuple(row.values()) for row in calibrated])
    text += "\n\n" + table(("truth", "called so"), classes.items())
    show({"machine": machine(), "cells": cells, "calibration": calibrated, "classes": classes}, text)


def _noise(rng: np.random.Generator, length: int, rho: float) -> Values:
    """AR(1) of variance 1."""
    shocks = rng.normal(size=length + 200) * np.sqrt(1 - rho**2)
    return np.asarray(lfilter([1.0], [1.0, -rho], shocks), dtype=np.float64)[200:]


def _trend(values: Values) -> Any:
    return find_trend(Series.regular(0.0, 60.0, values + LEVEL))


def _cell(rng: np.random.Generator, length: int, rho: float, count: int) -> dict[str, Any]:
    """Shares of `count` series without a trend in which one is seen, and of as many with one."""
    places = np.arange(float(length))
    ranked = told = unknown = found = changed = stepped = 0
    spent = 0.0
    for _ in range(count):
        values = _noise(rng, length, rho)
        ranked += mann_kendall(places, values).p_value < 0.05
        started = time.process_time()
        quiet = _trend(values)
        spent += time.process_time() - started
        told += quiet.direction in ("increasing", "decreasing")
        unknown += quiet.direction == "unknown"
        changed += bool(quiet.change_points)
        found += _trend(values + CHANGE * places / length).direction == "increasing"
        at = length // 2
        step = _trend(values + CHANGE * (places >= at))
        stepped += any(abs(one.at / 60 - at) <= STEPS * length for one in step.change_points)
    shares = (ranked, told, unknown, found, changed, stepped)
    names = ("mannKendall", "told", "unknown", "found", "changePoints", "stepFound")
    cell = {"n": length, "rho": rho, "gls": false_positives(length, rho)} | {
        name: f"{share / count:.1%}" for name, share in zip(names, shares, strict=True)
    }
    return cell | {"milliseconds": round(1e3 * spent / count, 1)}


def false_positives(length: int, rho: float) -> str:
    """Share of 1000 series without a trend in which least squares see one at 5 %: the test alone is quick."""
    rng = np.random.default_rng([SEED, length, int(10 * rho)])
    places = np.arange(float(length))
    seen = sum(least_squares(places, _noise(rng, length, rho)).p_value < 0.05 for _ in range(1_000))
    return f"{seen / 1_000:.1%}"


def _calibration(rng: np.random.Generator, count: int) -> Iterator[dict[str, Any]]:
    """Slopes of all sizes, up and down: of the series said to rise with a probability, that share is to rise."""
    said, rose = [], []
    while len(said) < count:
        length, rho = int(rng.integers(60, 300)), float(rng.choice(RHOS))
        slope = float(rng.normal(0.0, 2.0))
        places = np.arange(float(length))
        verdict = least_squares(places, _noise(rng, length, rho) + slope * places / length)
        if verdict.dependence.independent >= LEAST_INDEPENDENT:
            said.append(verdict.rising)
            rose.append(slope > 0)
    probability, truth = np.array(said), np.array(rose)
    edges = (0.0, 0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975, 1.0)
    for low, high in itertools.pairwise(edges):
        within = (probability >= low) & (probability <= high)
        if within.any():
            mean = f"{probability[within].mean():.1%}"
            yield {"said": mean, "series": int(within.sum()), "rose": f"{truth[within].mean():.1%}"}


def _classes(rng: np.random.Generator, count: int) -> dict[str, str]:
    """300 readings, ρ = 0.3: how often each class is called what it is."""
    line = np.arange(300.0) / 300
    made = {
        "increasing": lambda noise: LEVEL + noise + CHANGE * line,
        "decreasing": lambda noise: LEVEL + noise - CHANGE * line,
        "stable": lambda noise: LEVEL + noise,
        "volatile": lambda noise: LEVEL + 0.5 * LEVEL * noise,
    }
    return {
        name: f"{sum(_called(make(_noise(rng, 300, 0.3))) == name for _ in range(count)) / count:.1%}"
        for name, make in made.items()
    }


def _called(values: Values) -> str:
    return str(find_trend(Series.regular(0.0, 60.0, values)).direction)

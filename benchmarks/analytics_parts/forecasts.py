"""Forecasts of real series from rolling origins: MASE, coverage of the intervals and CPU time, beside other libraries.

Each method is given every origin of every series and fits anew. One series may take a method 60 s of CPU time; what it
has not forecast by then is missing, and the table says how much that is. Every pair of a method and a series runs in a
process of its own, so that nothing is learnt or cached between them but the imports.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.analytics_parts._forecast_methods import METHODS, Told
from benchmarks.analytics_parts._real_series import Real, real_series
from benchmarks.report import machine, show, table

ORIGINS = 20
CAP_SECONDS = 60
Values = NDArray[np.float64]
Row = dict[str, Any]


def main(arguments: Sequence[str]) -> None:
    """Measures the methods named (all by default), adds what they said to a file, and reports on all of the file."""
    parser = argparse.ArgumentParser(prog="benchmarks/analytics.py forecasts", description=__doc__)
    parser.add_argument("--method", action="append", choices=list(METHODS), help="may be repeated; all by default")
    parser.add_argument("--results", type=Path, help="JSON lines of earlier runs; only what lacks is measured")
    parser.add_argument("--origins", type=int, default=ORIGINS, help="of each series (default all 20)")
    parser.add_argument("--report", action="store_true", help="measure nothing, report on --results")
    given = parser.parse_args(arguments)
    results = given.results or Path(f"forecasts-{os.getpid()}.jsonl")
    series = sorted(real_series(), key=lambda one: one.season * len(one.values))  # the quick ones first
    if not given.report:
        for name in given.method or METHODS:
            _warm_up(name, series[0])
            for one in series:
                done = {(row["method"], row["series"], row["origin"]) for row in _read(results)}
                wanted = [at for at in origins(one)[: given.origins] if (name, one.name, at) not in done]
                _measure_apart(name, one, wanted, results)
    report(_read(results))
    if not given.report:
        print(f"\na fortnight of minutes with a daily season: {json.dumps(fortnight())}")


def fortnight() -> dict[str, float]:
    """CPU seconds to fit 20 160 minutes and forecast an hour, and the mean error beside the deviation of the noise."""
    from scipy.signal import lfilter

    from raftchaos.analytics.forecasts.forecast import fit
    from raftchaos.analytics.series import Series

    place = np.arange(14 * 1_440 + 60)
    noise = lfilter([1.0], [1.0, -0.8], np.random.default_rng(1).normal(size=len(place)))
    values = 100 + 20 * np.sin(2 * np.pi * place / 1_440) + 8 * np.cos(6 * np.pi * place / 1_440) + noise
    started = time.process_time()
    model = fit(Series.regular(0.0, 60.0, values[:-60]), 60)
    told = model.predict(60)
    spent = time.process_time() - started
    error = float(np.mean(np.abs(told.mean - values[-60:])))
    return {"cpuSeconds": round(spent, 3), "meanError": round(error, 3), "noise": round(float(noise.std()), 3)}


def _read(results: Path) -> list[Row]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def origins(series: Real) -> list[int]:
    """The lengths of history from which a series is forecast, spread over its second half.

    Later ones fall between earlier ones, so that a method that is stopped has still seen all of the series.
    """
    count = len(series.values)
    first = max(count // 2, min(3 * series.season + 5, count - series.horizon - ORIGINS))
    spread = np.unique(np.linspace(first, count - series.horizon, ORIGINS).astype(int)).tolist()
    return [spread[place] for start in range(4) for place in range(start, len(spread), 4)]


def _warm_up(name: str, series: Real) -> None:
    """Imports, and compiles where the method compiles, before anything is measured."""
    METHODS[name](series.values[:60], 1, 2)


def _measure_apart(name: str, series: Real, wanted: list[int], results: Path) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            spent = int(time.process_time())
            resource.setrlimit(resource.RLIMIT_CPU, (spent + CAP_SECONDS, spent + CAP_SECONDS + 1))
            _measure(name, series, wanted, results)
            status = 0
        finally:
            os._exit(status)
    os.waitpid(child, 0)


def _measure(name: str, series: Real, wanted: list[int], results: Path) -> None:
    for origin in wanted:
        history, future = series.values[:origin], series.values[origin : origin + series.horizon]
        started = time.process_time()
        try:
            told = METHODS[name](history, series.season, series.horizon)
        except Exception as error:  # noqa: BLE001 - a rival's failure is a result too
            print(f"{name}, {series.name}, {origin}: {error!r}", file=sys.stderr, flush=True)
            continue
        row = _row(name, series, origin, told, future, time.process_time() - started)
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _row(name: str, series: Real, origin: int, told: Told, future: Values, seconds: float) -> Row:
    history = series.values[:origin]
    usual = float(np.mean(np.abs(history[series.season :] - history[: -series.season])))
    return {
        "method": name,
        "series": series.name,
        "origin": origin,
        "seconds": seconds,
        "mase": float(np.mean(np.abs(future - told.mean))) / usual,
        "in80": float(np.mean((future >= told.lower80) & (future <= told.upper80))),
        "in95": float(np.mean((future >= told.lower95) & (future <= told.upper95))),
        "width95": float(np.mean(told.upper95 - told.lower95)) / usual,
    }


def report(rows: list[Row]) -> None:
    """A row a method: over all that it forecast, and against the first method where both forecast."""
    by_method: dict[str, dict[tuple[str, int], Row]] = {}
    for row in rows:
        by_method.setdefault(row["method"], {})[row["series"], row["origin"]] = row
    all_keys = {key for found in by_method.values() for key in found}
    ours = by_method.get("raftchaos", {})
    measured = {name: _figures(found, ours, len(all_keys)) for name, found in by_method.items()}
    head = (
        "method",
        "forecasts",
        "missing",
        "MASE",
        "it, raftchaos where both",
        "in 80 %",
        "in 95 %",
        "width",
        "CPU s a fit",
        "longest",
    )
    cells = [(name, *figures.values()) for name, figures in sorted(measured.items(), key=lambda one: one[1]["mase"])]
    show({"machine": machine(), "forecasts": measured}, table(head, cells))


def _figures(found: dict[tuple[str, int], Row], ours: dict[tuple[str, int], Row], wanted: int) -> Row:
    both = [key for key in found if key in ours]
    return {
        "forecasts": len(found),
        "missing": wanted - len(found),
        "mase": _by_series(found.values(), "mase"),
        "ofBoth": " ".join(str(_by_series([rows[key] for key in both], "mase")) for rows in (found, ours)),
        "in80": _by_series(found.values(), "in80"),
        "in95": _by_series(found.values(), "in95"),
        "width95": _by_series(found.values(), "width95"),
        "cpuSeconds": round(float(np.mean([row["seconds"] for row in found.values()])), 3),
        "cpuSecondsLongest": round(max(row["seconds"] for row in found.values()), 3),
    }


def _by_series(rows: Iterable[Row], what: str) -> float:
    """The mean over the series of the mean of each: no series counts more because more of it was forecast."""
    each: dict[str, list[float]] = {}
    for row in rows:
        each.setdefault(row["series"], []).append(row[what])
    return round(float(np.mean([np.mean(values) for values in each.values()])), 3) if each else float("nan")

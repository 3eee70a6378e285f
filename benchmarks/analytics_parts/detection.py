"""The detector of any metric, on the labelled series of the Numenta Anomaly Benchmark.

`--nab` is a folder with `data/CATEGORY/FILE.csv` and the labels, `--scorer` a program that is given that folder and one
of scores, and prints `standard score X at threshold Y`. Neither is part of raftchaos.

Reported: the score with the best line for all series, with the line of the product (0.5), and with a line for each
category that was chosen on the other categories only; microseconds a reading, and bytes a metric with full memory.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.report import machine, show, table
from raftchaos.analytics.anomalies.detector import ALARM, Detector
from raftchaos.analytics.anomalies.surprise import MEMORY
from raftchaos.analytics.sources.csv import Notes, read_rows

_ANSWER = re.compile(r"standard score ([-\d.]+) at threshold ([-\d.e]+)")


def main(arguments: list[str]) -> None:
    """Score, and print a table and JSON."""
    parser = argparse.ArgumentParser(prog="analytics.py detection", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nab", type=Path, required=True)
    parser.add_argument("--scorer", type=Path, required=True)
    chosen = parser.parse_args(arguments)

    def score(folder: Path, only: str = "") -> tuple[float, float]:
        words = [sys.executable, str(chosen.scorer), str(chosen.nab), str(folder), *(["--only", only] if only else [])]
        found = _ANSWER.search(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        assert found is not None, "the scorer says neither score nor threshold"
        return float(found[1]), float(found[2])

    with tempfile.TemporaryDirectory() as made:
        scores = Path(made) / "scores"
        micros = detect_all(chosen.nab / "data", scores)
        categories = sorted(path.name for path in scores.iterdir())
        best, line = score(scores)
        fixed = _with_lines(scores, Path(made) / "fixed", dict.fromkeys(categories, ALARM), score)
        lines = {
            name: score(scores, ",".join(one + "/" for one in categories if one != name))[1] for name in categories
        }
        folds = _with_lines(scores, Path(made) / "folds", lines, score)
    by_full, size = full_memory()
    result = {
        "best": best,
        "bestLine": line,
        "fixedLine": fixed,
        "crossValidated": folds,
        "foldLines": lines,
        "microsecondsPerReading": round(micros, 1),
        "microsecondsWithFullMemory": round(by_full, 1),
        "bytesPerMetric": size,
        "machine": machine(),
    }
    rows = [
        ("score, one line for all, chosen on all", f"{best:.1f} (line {line:.4f})"),
        (f"score, line {ALARM}", f"{fixed:.1f}"),
        ("score, line of each category chosen on the others", f"{folds:.1f}"),
        ("µs a reading; with full memory", f"{micros:.0f}; {by_full:.0f}"),
        ("MB a metric with full memory", f"{size / 1e6:.1f}"),
    ]
    show(result, table(("detection", "measured"), rows))


def detect_all(data: Path, target: Path) -> float:
    """Write the scores of every file as the command line does; microseconds of CPU a reading, without reading files."""
    spent, count = 0.0, 0
    for file in sorted(data.rglob("*.csv")):
        with file.open("rb") as source:
            rows = list(read_rows(source, file.name, Notes()))
        detector = Detector()
        begun = time.process_time()
        scores = [detector.update(row.time, row.value) for row in rows]
        spent += time.process_time() - begun
        count += len(rows)
        out = target / file.relative_to(data)
        out.parent.mkdir(parents=True, exist_ok=True)
        lines = (f"{row.timestamp},{row.text},{score:.6f}\n" for row, score in zip(rows, scores, strict=True))
        out.write_text("timestamp,value,anomaly_score\n" + "".join(lines))
    return spent / count * 1e6


def _with_lines(
    scores: Path, target: Path, lines: dict[str, float], score: Callable[[Path], tuple[float, float]]
) -> float:
    """The score where each category has the line that is given: 1 for an alarm, else 0; nothing is left to choose."""
    for file in scores.rglob("*.csv"):
        with file.open() as source:
            rows = list(csv.DictReader(source))
        out = target / file.relative_to(scores)
        out.parent.mkdir(parents=True, exist_ok=True)
        line = lines[file.relative_to(scores).parts[0]]
        alarms = (f"{row['timestamp']},{int(float(row['anomaly_score']) >= line)}\n" for row in rows)
        out.write_text("timestamp,anomaly_score\n" + "".join(alarms))
    return score(target)[0]


def full_memory() -> tuple[float, int]:
    """Microseconds a reading, and bytes, of a detector that remembers all it can."""
    values = np.random.default_rng(1).normal(size=2 * MEMORY + 4000).tolist()
    tracemalloc.start()
    detector = Detector()
    for row, value in enumerate(values[: 2 * MEMORY]):
        detector.update(60.0 * row, value)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    begun = time.process_time()
    for row, value in enumerate(values[2 * MEMORY :]):
        detector.update(60.0 * (2 * MEMORY + row), value)
    return (time.process_time() - begun) / 4000 * 1e6, size

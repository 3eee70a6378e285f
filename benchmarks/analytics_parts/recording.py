"""How many events a second are recorded on one core, and how much memory a full recording takes.

Batches: rows of columns with a type, 200 endpoints, a protocol, a node, a status and a latency, in order of time, over
`--seconds`. Cells: a year's rings filled at every resolution with 200 endpoints, and latencies of 100 requests a second
for 20 of them.
Rates are by processor time, so that a busy machine does not count; wall time is said beside them.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.report import machine, show, table
from raftchaos.analytics.recording import storage
from raftchaos.analytics.recording.analytics import ChaosAnalytics
from raftchaos.analytics.recording.buckets import RESOLUTIONS, Resolution
from raftchaos.core.cells import Cell
from raftchaos.core.histogram import LogHistogram

NOW = 1_700_000_000
ENDPOINTS = [f"GET /service/{number}" for number in range(200)]


def main(arguments: list[str]) -> None:
    """Measure, and print a table and JSON."""
    parser = argparse.ArgumentParser(prog="analytics.py recording", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--sigma", type=float, default=0.5, help="of the log-normal latencies that fill the memory")
    chosen = parser.parse_args(arguments)
    figures: dict[str, float] = memory(chosen.sigma)  # first: memory that others have left would hide it
    for name, run in (("batch", batch(chosen.rows, chosen.seconds)), ("single", single(chosen.rows // 4))):
        cpu, wall = timed(run)
        rows = chosen.rows if name == "batch" else chosen.rows // 4
        figures |= {f"{name}_rows_per_cpu_second": round(rows / cpu), f"{name}_rows_per_second": round(rows / wall)}
    rows = [[name, f"{value:,}"] for name, value in figures.items()]
    show({**machine(), **figures}, table(["recording", "measured"], rows))


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """Processor and wall time in seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def batch(rows: int, seconds: int) -> Callable[[], None]:
    """Recording one batch of columns."""
    chance = np.random.default_rng(1)
    at = NOW + np.arange(rows) * (seconds / rows)
    endpoint = [ENDPOINTS[place] for place in (200 * chance.random(rows) ** 3).astype(int)]
    protocol = ["http", "websocket"] * (rows // 2)
    status = chance.choice([200, 200, 200, 404, 503], rows)
    latency = chance.lognormal(3, 1, rows)
    analytics = ChaosAnalytics()

    def run() -> None:
        analytics.record_events(
            at, "request", endpoint=endpoint, protocol=protocol, node="n1", status=status, latency_ms=latency
        )

    return run


def single(rows: int) -> Callable[[], None]:
    """Recording one event after the other."""
    analytics = ChaosAnalytics()

    def run() -> None:
        record = analytics.record_event
        for row in range(rows):
            record(
                "request",
                at=NOW + row / 200_000,
                endpoint=ENDPOINTS[row % 200],
                protocol="http",
                status=200,
                latency_ms=12.5,
            )
        analytics.metrics()

    return run


def memory(sigma: float) -> dict[str, float]:
    """Resident memory that full rings add, and the file that they make."""
    analytics = ChaosAnalytics()
    drawn = {resolution: drawn_histograms(resolution.step, sigma) for resolution in RESOLUTIONS}
    before = resident()
    for cell in full_year(drawn):
        analytics.record_cell(cell)
    grown = resident() - before
    kept = sum(len(blob) for ring in analytics._rings for blob in ring.latencies.packed.values())
    forgotten = {f"histograms_forgotten_{ring.step}s": float(ring.latencies.forgotten) for ring in analytics._rings}
    with TemporaryDirectory() as folder:
        cpu, _ = timed(lambda: storage.save(analytics, Path(folder)))
        size = (Path(folder) / storage.FILE).stat().st_size
    return {
        "resident_mib": round(grown / 2**20, 1),
        "histograms_mib": round(kept / 2**20, 1),
        "file_mib": round(size / 2**20, 1),
        "save_cpu_seconds": round(cpu, 2),
        **{name: value for name, value in forgotten.items() if value},
    }


def full_year(drawn: dict[Resolution, list[LogHistogram]]) -> Iterator[Cell]:
    """Cells that fill every ring: of a day, an hour, five minutes, a minute and a second each, oldest first."""
    for resolution in reversed(RESOLUTIONS):
        for place in range(resolution.size):
            at = NOW - NOW % resolution.step - (resolution.size - place) * resolution.step
            counts = {
                "type": {f"type-{n}": (100 * resolution.step, n) for n in range(6)},
                "fault": {f"fault-{n}": (resolution.step, 1) for n in range(6)},
                "endpoint": {name: ((200 - n) * resolution.step, 3) for n, name in enumerate(ENDPOINTS)},
                "protocol": {"http": (resolution.step, 1)},
                "node": {"n1": (resolution.step, 1)},
                "status": {str(200 + n): (resolution.step, 0) for n in range(8)},
            }
            names = ["", *ENDPOINTS[:20]]
            latencies = {name: drawn[resolution][(place + n) % 40] for n, name in enumerate(names)}
            yield Cell(at, resolution.step, counts, latencies)


def drawn_histograms(step: int, sigma: float) -> list[LogHistogram]:
    """Forty of the latencies of 100 requests a second."""
    chance = np.random.default_rng(step)
    many = [LogHistogram() for _ in range(40)]
    for one in many:
        for value in chance.lognormal(3, sigma, min(100 * step, 20_000)).tolist():
            one.add(value)
    return many


def resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

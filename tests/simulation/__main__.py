"""Runs seeds: `python -m tests.simulation --seeds 1000`, or one of them again: `python -m tests.simulation --seed 17`.

Exit code 0 if nothing was violated. A failing seed is printed with the end of its trace; running it again gives the
same trace, in any process.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.simulation.seed_run import Report
from tests.simulation.seeds import run_seed, run_seed_briefly

SECONDS = 60.0
PROCESSES = 2
TRACE_SHOWN = 120


def run_many(seeds: range, seconds: float, again: int) -> int:
    """Run the seeds in parallel, and every `again`-th once more in a process with another hash seed, which has to give
    the same trace. Tells what was tried and which seeds failed.
    """
    began, failed, simulated = time.monotonic(), [], 0.0
    counts: Counter[str] = Counter()
    context = get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context) as pool, ProcessPoolExecutor(PROCESSES, context) as other:
        reports = _start(pool, "1", seeds, seconds)
        repeated = _start(other, "2", seeds[::again], seconds)
        for number, report in enumerate(reports, start=1):
            if (number - 1) % again == 0 and next(repeated).digest != report.digest:
                report.violations.append("a second run of this seed, in another process, went another way")
            simulated += report.seconds
            counts.update(report.counts)
            if report.failed:
                failed.append(report.seed)
                tell(report, TRACE_SHOWN)
            if number % 50 == 0 or number == len(seeds):
                pace = simulated / (time.monotonic() - began)
                print(
                    f"{number} seeds, {simulated:.0f} simulated seconds ({pace:.0f} a second), failed: {failed}",
                    flush=True,
                )
    print("\n".join(f"{count:10} {name}" for name, count in sorted(counts.items())))
    return 1 if failed else 0


def _start(pool: ProcessPoolExecutor, hash_seed: str, seeds: range, seconds: float) -> Iterator[Report]:
    """Reports in the order of the seeds. The pool's processes start here, and take the hash seed along."""
    os.environ["PYTHONHASHSEED"] = hash_seed
    return pool.map(run_seed_briefly, seeds, [seconds] * len(seeds), chunksize=1)


def tell(report: Report, lines: int) -> None:
    """A failing seed, for a person to read."""
    print(f"seed {report.seed}: " + "; ".join(report.violations))
    print("\n".join(report.trace[-lines:] if lines else report.trace))
    print(f"again: make simulate SEED={report.seed}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="tests.simulation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one only, with its whole trace")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of trouble, simulated; then comes peace")
    parser.add_argument("--again", type=int, default=1, help="every so many is run a second time; default: each")
    parser.add_argument("--digests", action="store_true", help="print seed and digest of each, nothing else")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        report = run_seed(options.seed, options.seconds)
        tell(report, 0)
        return 1 if report.failed else 0
    seeds = range(options.first, options.first + options.seeds)
    if options.digests:
        for seed in seeds:
            print(seed, run_seed(seed, options.seconds).digest, flush=True)
        return 0
    return run_many(seeds, options.seconds, options.again)


if __name__ == "__main__":
    sys.exit(main())

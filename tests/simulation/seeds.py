"""Seeds as other processes run them."""

from __future__ import annotations

import logging

from tests.simulation.seed_run import Report, SeedRun


def run_seed(seed: int, seconds: float) -> Report:
    """One seed, without the product's log lines; they would say what the trace says."""
    logging.disable(logging.CRITICAL)
    try:
        return SeedRun(seed, seconds).run()
    finally:
        logging.disable(logging.NOTSET)


def run_seed_briefly(seed: int, seconds: float) -> Report:
    """The same; only a failing one brings its trace along."""
    report = run_seed(seed, seconds)
    if not report.failed:
        report.trace = []
    return report

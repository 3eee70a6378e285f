"""What the benchmarks share: quantiles, the load of the machine, and how figures are printed."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def quantiles(seconds: Iterable[float], digits: int = 3) -> dict[str, float]:
    """p50, p90, p99 and the greatest, in milliseconds."""
    ordered = sorted(seconds)
    found = {f"{name}_ms": ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in SHARES.items()}
    return {name: round(value * 1e3, digits) for name, value in {**found, "max_ms": ordered[-1]}.items()}


def spread(rounds: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Of each figure of several rounds the least, the median and the greatest."""
    return {
        name: [min(values), round(statistics.median(values), 3), max(values)]
        for name in rounds[0]
        for values in [[one[name] for one in rounds]]
    }


def cell(values: Sequence[float]) -> str:
    """The median of a spread, and what it lies between."""
    least, median, most = values
    return f"{median:g} ({least:g}–{most:g})"


def machine() -> dict[str, Any]:
    """Cores, and the processes that wanted one in the last minute, these benchmarks included."""
    return {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2)}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown whose columns line up."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(c.ljust(w) for c, w in zip(line, widths, strict=True))} |" for line in lines)


def show(result: dict[str, Any], text: str) -> None:
    """Print the table for people, then everything as JSON."""
    print(f"{text}\n\n{json.dumps(result)}")

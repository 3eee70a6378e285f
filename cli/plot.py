"""A line drawn with braille dots: two dots a letter across, four down."""

from __future__ import annotations

import math
from collections.abc import Sequence

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
HEIGHT = 8  # lines


def plot(values: Sequence[float], *, width: int, marks: Sequence[Sequence[float]] = (), start: int = 0) -> list[str]:
    """Lines of text that show the values from left to right, with their least and greatest at the left.

    `marks` are further values from place `start` on, drawn as dots: the ends of intervals. NaN is left out.
    """
    total = max([len(values), *[start + len(one) for one in marks]])
    known = [value for row in (values, *marks) for value in row if math.isfinite(value)]
    if not known or total < 2:
        return []
    low, high = min(known), max(known)
    labels = [f"{high:.4g}", f"{low:.4g}"]
    margin = max(len(label) for label in labels)
    columns = max(8, width - margin - 2)
    cells = [[0] * columns for _ in range(HEIGHT)]

    def dot(place: float, value: float) -> None:
        x = min(2 * columns - 1, round(place / (total - 1) * (2 * columns - 1)))
        y = round((high - value) / ((high - low) or 1.0) * (4 * HEIGHT - 1))
        cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]

    for place, (value, following) in enumerate(zip(values, [*values[1:], math.nan], strict=True)):
        if not math.isfinite(value):
            continue
        dot(place, value)
        if math.isfinite(following):
            for part in range(1, 8):
                dot(place + part / 8, value + (following - value) * part / 8)
    for row in marks:
        for place, value in enumerate(row):
            if math.isfinite(value):
                dot(start + place, value)
    lines = ["".join(chr(0x2800 + cell) for cell in line) for line in cells]
    heads = [labels[0], *[""] * (HEIGHT - 2), labels[1]]
    return [f"{head:>{margin}} {line}" for head, line in zip(heads, lines, strict=True)]

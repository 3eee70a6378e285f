"""What is counted in a bucket of time: one column for each name of each dimension, and one for its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from raftchaos.analytics.recording.histogram import Ints
from raftchaos.analytics.recording.names import NOTHING, Names
from raftchaos.core.cells import DIMENSIONS, RATE_LIMITED, REQUEST, SHAPED, Cell

EVENTS = 0
ERRORS = 1
"""The columns of all events, and of those that were errors. Every other pair of columns is laid out alike."""
_FIRST = 2


@dataclass(frozen=True, slots=True)
class Dimension:
    """A dimension and its first column."""

    name: str
    names: Names
    first: int

    def column(self, number: int) -> int:
        """The column of the events of a name; that of their errors is the next."""
        return self.first + 2 * number


class Columns:
    """The columns of all dimensions."""

    def __init__(self, moved: Callable[[int, int], None]) -> None:
        """`moved(column, into)` is called when a column is about to belong to another name: what it has counted so far
        belongs to the column `into`.
        """
        self._moved = moved
        self.dimensions: dict[str, Dimension] = {}
        self.count = _FIRST + 2 * sum(most + 1 for most in DIMENSIONS.values())
        self._last = np.zeros(self.count)
        first = _FIRST
        for name, most in DIMENSIONS.items():
            end = first + 2 * (most + 1)
            self.dimensions[name] = Dimension(name, Names(most, self._last[first:end:2], self._mover(first)), first)
            first = end
        for kind in (REQUEST, RATE_LIMITED, SHAPED):
            self.dimensions["type"].names.number(kind)  # there is always an answer to a question about these

    def of_cell(self, cell: Cell) -> tuple[Ints, Ints]:
        """The columns that a cell adds to, and how much."""
        errors = sum(errors for _, errors in cell.counts.get("type", {}).values())
        added = {EVENTS: cell.events, ERRORS: errors}
        for dimension, counts in cell.counts.items():
            table = self.dimensions[dimension]
            for name, (events, failed) in counts.items():
                number = table.names.number(name)
                if number != NOTHING:
                    column = table.column(number)
                    added[column] = added.get(column, 0) + events
                    added[column + 1] = added.get(column + 1, 0) + failed
        return np.fromiter(added, np.int64, len(added)), np.fromiter(added.values(), np.int64, len(added))

    def seen(self, columns: Ints, at: float) -> None:
        """These columns were added to by events of this time."""
        self._last[columns] = np.maximum(self._last[columns], at)

    def admit(self, at: float) -> None:
        """Let names that had no event for long make room; see `Names.admit`."""
        for table in self.dimensions.values():
            table.names.admit(at)

    @property
    def used(self) -> int:
        """How many columns belong to a name."""
        return _FIRST + 2 * sum(len(table.names) for table in self.dimensions.values())

    def named(self) -> Iterator[tuple[str, str, int]]:
        """Every dimension with every name and its column."""
        for dimension, table in self.dimensions.items():
            for number, name in enumerate(table.names.names):
                yield dimension, name, table.column(number)

    def _mover(self, first: int) -> Callable[[int], None]:
        def replaced(number: int) -> None:
            self._moved(first + 2 * number, first)
            self._moved(first + 2 * number + 1, first + 1)

        return replaced

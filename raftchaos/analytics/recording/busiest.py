"""Which endpoints have histograms of their own: the busiest ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from raftchaos import limits
from raftchaos.analytics.recording.histogram import Ints

_HALVED: Final = 3600.0  # seconds after which an event counts half
_LOOK: Final = 60.0  # seconds between two looks at who is busiest
_STAYS: Final = 1.5  # so much busier is a newcomer than one that it displaces, or they would take turns


class Busiest:
    """Endpoints by how many events they had of late; an event of an hour ago counts half as much as one of now."""

    def __init__(self, numbers: int, changed: Callable[[], None]) -> None:
        """`changed` is called when other ones are the busiest."""
        self._changed = changed
        self.weights = np.zeros(numbers)
        self.chosen: list[int] = []
        """The numbers of the busiest endpoints, in the order of their histograms."""
        self.rows = np.zeros(numbers, dtype=np.int64)
        """By number: the row of its histogram, or 0 if it has none."""
        self._looked = 0.0

    def add(self, counts: Ints, at: float) -> None:
        """So many events of each number came at this time."""
        if abs(at - self._looked) >= _LOOK:
            self.weights *= 0.5 ** (min(abs(at - self._looked), 100 * _HALVED) / _HALVED)
            self._looked = at
            full = False
        else:
            full = len(self.chosen) >= limits.EVENT_BUSIEST
        self.weights += counts
        if not full:
            self._choose()

    def forget(self, number: int) -> None:
        """A number belongs to another endpoint."""
        self.weights[number] = 0.0
        self._choose()

    def restore(self, weights: list[float]) -> None:
        """Take what `weights` was. Raises ValueError."""
        self.weights[:] = np.array(weights, dtype=np.float64)
        self._choose()

    def _choose(self) -> None:
        favoured = self.weights.copy()
        favoured[self.chosen] *= _STAYS
        favoured[0] = 0.0  # OTHER is no endpoint
        order = np.argsort(-favoured, kind="stable")[: limits.EVENT_BUSIEST]
        wanted = [int(number) for number in order if favoured[number] > 0]
        if set(wanted) == set(self.chosen):
            return
        self.chosen = [number for number in self.chosen if number in wanted]
        self.chosen += [number for number in wanted if number not in self.chosen]
        self.rows[:] = 0
        self.rows[self.chosen] = np.arange(1, len(self.chosen) + 1)
        self._changed()

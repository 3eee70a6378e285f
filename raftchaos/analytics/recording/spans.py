"""When somebody recorded: what tells a quiet time from one of which nothing is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from raftchaos import limits
from raftchaos.analytics.recording.histogram import Ints


class Spans:
    """Spans of time from a first to a last event, in the order in which they were recorded."""

    def __init__(self) -> None:
        self._spans: list[list[float]] = []
        self._open = False

    @property
    def newest(self) -> float:
        """The newest time that anything was of."""
        return max((end for _, end in self._spans), default=0.0)

    @property
    def oldest(self) -> float:
        """The oldest time that anything was of."""
        return min((begin for begin, _ in self._spans), default=0.0)

    def extend(self, at: float) -> None:
        """Something of this time was recorded. What comes late begins no span before another."""
        if not self._open:
            self._spans.append([at, at])
            self._open = True
            if len(self._spans) > limits.RECORDING_SPANS:
                self._spans[:2] = [[self._spans[0][0], self._spans[1][1]]]
            return
        span = self._spans[-1]
        span[1] = max(span[1], at)
        if len(self._spans) == 1:
            span[0] = min(span[0], at)

    def end(self, present: float) -> None:
        """The recorder goes; what it recorded of a time that has not come was of a wrong clock."""
        self._spans = self.snapshot(present)
        self._open = False

    def covers(self, starts: Ints, step: int, present: float) -> npt.NDArray[np.bool_]:
        """For intervals that begin at `starts`, whether somebody recorded in them."""
        covered = np.zeros(len(starts), dtype=np.bool_)
        for begin, end in self._spans:
            covered |= (starts + step > begin) & (starts <= min(end, present))
        if self._open and self._spans:
            covered |= (starts > self._spans[-1][1]) & (starts <= present)
        return covered

    def snapshot(self, present: float) -> list[list[float]]:
        """The spans, none beyond the present."""
        return [[begin, min(end, present)] for begin, end in self._spans if begin <= present]

    def restore(self, spans: list[list[float]]) -> None:
        """Take what `snapshot` said; the next event begins another span. Raises ValueError."""
        if len(spans) > limits.RECORDING_SPANS:
            raise ValueError(f"{len(spans)} spans")
        self._spans = [[float(begin), float(end)] for begin, end in spans]

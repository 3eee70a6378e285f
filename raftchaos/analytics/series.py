"""A series of equally spaced numbers: the currency between the parts of analytics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raftchaos.errors import UsageError

Floats = npt.NDArray[np.float64]
_UNEVEN = 1e-6  # of a step: what rounding may do to seconds since the epoch


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Values at equal steps of time. Raises UsageError if the parts do not fit each other.

    `times` are seconds since the epoch, ascending, `step` seconds apart: each is the start of the interval that its
    value stands for. `values` are float64; NaN is a gap: nothing is known of that interval.
    """

    times: Floats
    values: Floats
    step: float

    def __post_init__(self) -> None:
        if self.times.ndim != 1 or self.times.shape != self.values.shape:
            raise UsageError(
                f"found times of shape {self.times.shape} and values of shape {self.values.shape}, "
                "expected two rows of the same length"
            )
        if not (math.isfinite(self.step) and self.step > 0):
            raise UsageError(f"found a step of {self.step} s, expected a number above 0")
        uneven = np.abs(np.diff(self.times) - self.step)
        if not np.isfinite(self.times).all() or (uneven > _UNEVEN * max(self.step, 1.0)).any():
            raise UsageError(f"found times that are not {self.step} s apart each, expected equal steps")

    @classmethod
    def regular(cls, start: float, step: float, values: npt.ArrayLike) -> Series:
        """The series whose first value stands for the interval that begins at `start`."""
        numbers = np.asarray(values, dtype=np.float64)
        return cls(start + step * np.arange(len(numbers), dtype=np.float64), numbers, float(step))

    def __len__(self) -> int:
        return len(self.times)

    def between(self, start: float, end: float) -> Series:
        """The part whose intervals begin at or after `start` and before `end`; may be empty."""
        first, last = np.searchsorted(self.times, [start, end])
        return Series(self.times[first:last], self.values[first:last], self.step)

"""What an experiment did to a metric, and how two experiments differ."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raftchaos.model.findings.finding import Finding


class Estimate(Finding):
    """A difference with its 95 % interval; no interval where there is too little independent data for one."""

    value: float
    low: float | None = None
    high: float | None = None

    def excludes_zero(self) -> bool:
        """Whether the interval leaves no room for "no difference"."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Impact(Finding):
    """What the faults of a task did to a metric while they were on."""

    metric: str
    unit: str
    effect: Estimate = Field(description="During against what it would have been.")
    lasting: Estimate | None = Field(default=None, description="After against before; none beside a control group.")
    method: Literal["controlGroup", "interruptedTimeSeries"]
    sentence: str


class Difference(Finding):
    """One measure of two finished tasks: `second` minus `first`."""

    measure: str
    unit: str
    first: float
    second: float
    change: Estimate
    verdict: Literal["worse", "better", "same", "unclear"] = Field(
        description="same: the interval lies within the tolerance. unclear: it does not, and does not leave it either."
    )


class Comparison(Finding):
    """Two finished tasks, or the same task on two releases, beside each other."""

    first: str
    second: str
    differences: tuple[Difference, ...]

    @property
    def worse(self) -> bool:
        """Whether any measure is worse."""
        return any(difference.verdict == "worse" for difference in self.differences)

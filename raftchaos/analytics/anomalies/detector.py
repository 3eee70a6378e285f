"""The detector of anomalies in any one metric: online, without a look ahead, in bounded memory.

Three surprises are added (see `surprise`), each of something else that people mean by "unusual":

- *season*: the reading is far from the median of this time of day (of the week, where that has predicted better), as
  the mean of the last 2, 4 and 8 deviations, so that a small shift that lasts counts like a large one that passes;
- *range*: the reading is outside everything seen so far;
- *novelty*: the last 2 and 3 readings, scaled robustly, are unlike any earlier ones (distance to the nearest neighbour;
  E. Knorr and R. Ng, VLDB 1998).

An alarm is raised where their sum reaches the line, unless one was raised shortly before; each alarm raises the line a
little for a while, so that a series that has become another one is reported once and not forever.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from raftchaos.analytics.anomalies.memory import DAY, WEEK, Ordered, SeasonalMedian
from raftchaos.analytics.anomalies.surprise import MEMORY, TailSurprise

ALARM: Final = 0.5  # a score from here on is an alarm
HELD: Final = 0.4999  # what would be an alarm, too soon after another
_LARGEST = 1e100  # larger numbers would overflow when squared


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parameters of the detector. The defaults serve every series; others are for benchmarks that vary them."""

    line: float = 4.4
    """The sum of surprises that raises an alarm."""
    quiet_rows: int = 60
    """Readings after an alarm in which none is raised."""
    lift: float = 0.2
    """The part of the line by which it is higher after an alarm."""
    lift_rows: float = 300.0
    """Readings in which that falls to 1/e."""
    memory: int = MEMORY
    """Readings that are remembered."""
    means: tuple[int, ...] = (2, 4, 8)
    """Deviations that are averaged."""
    lengths: tuple[int, ...] = (2, 3)
    """Readings that are compared together with earlier ones."""


class Parts(NamedTuple):
    """The three surprises of a reading."""

    season: float
    range: float
    novelty: float


class Deviation:
    """How far a reading is from what is usual at its time.

    Usual is the median of this quarter of an hour of the day and the two beside it, of the last 30 readings each; or of
    this hour of the week, of the last 48, while that has had a mean absolute error a tenth smaller over the last 2 000
    readings. 0 before there are 12 readings to tell.
    """

    ERROR_ROWS = 2_000
    BETTER = 0.9

    def __init__(self) -> None:
        self._seasons = (SeasonalMedian(DAY, 96, 30), SeasonalMedian(WEEK, 168, 48, least=24))
        self._errors = [0.0, 0.0]

    def __call__(self, time: float, value: float) -> float:
        """The deviation of a reading, which is then remembered."""
        usual = [season.expected(time) for season in self._seasons]
        for season in self._seasons:
            season.learn(time, value)
        day, week = usual
        if day is None:
            return 0.0
        if week is None:
            return value - day
        weekly = self._errors[1] < self.BETTER * self._errors[0]
        for place, expected in enumerate((day, week)):
            self._errors[place] += abs(value - expected) - self._errors[place] / self.ERROR_ROWS
        return value - (week if weekly else day)


class Scale:
    """Readings minus their median, over their range from the 5 % to the 95 % quantile (3.3 σ of a normal one)."""

    def __init__(self, memory: int) -> None:
        self._past = Ordered(memory)

    def __call__(self, value: float) -> float:
        """The scaled reading, itself among those that give the scale."""
        self._past.add(value)
        values = self._past.values
        count = len(values)
        difference = value - values[count // 2]
        spread = (values[int(count * 0.95)] - values[int(count * 0.05)]) / 3.3
        if spread > 0:
            return min(max(difference / spread, -_LARGEST), _LARGEST)
        return math.copysign(1.0, difference) if difference else 0.0


class Neighbours:
    """The Euclidean distance of the last k numbers from the most similar k before them, for each of several k."""

    def __init__(self, memory: int, lengths: tuple[int, ...]) -> None:
        self._memory = memory
        self._lengths = lengths
        self._past = np.zeros(64)
        self._count = 0

    def __call__(self, value: float) -> list[float]:
        """The distances over √k; 0 before there is anything to compare with."""
        self._make_room()
        past, now = self._past, self._count
        past[now] = value
        self._count += 1
        longest = max(self._lengths)
        start = max(longest - 1, now - self._memory)
        found = []
        total = np.zeros(max(0, now - start))
        for length in range(1, longest + 1):
            back, stop = length - 1, now - length + 1
            if stop <= start:
                found += [0.0] * (length in self._lengths)
                continue
            difference = past[start - back : stop - back] - past[now - back]
            difference *= difference
            total = total[: stop - start]
            total += difference
            if length in self._lengths:
                found.append(math.sqrt(float(total.min()) / length))
        return found

    def _make_room(self) -> None:
        if self._count < len(self._past):
            return
        keep = self._memory + max(self._lengths)
        if self._count < 2 * keep:
            self._past = np.concatenate([self._past, np.zeros(min(self._count, 2 * keep - self._count))])
        else:
            self._past[:keep] = self._past[-keep:].copy()
            self._count = keep


class Detector:
    """Scores one reading after the other, from 0 to 1; `ALARM` and above is an alarm.

    score = 1 - 2^-(S + R + N - A) / line, where S, R and N are the surprises of season, range and novelty and A is what
    past alarms have added to the line. The score of a reading depends on it and earlier ones alone.
    """

    def __init__(self, recipe: Recipe | None = None) -> None:
        self._recipe = recipe or Recipe()
        memory, means, lengths = self._recipe.memory, self._recipe.means, self._recipe.lengths
        self._deviation = Deviation()
        self._last: deque[float] = deque(maxlen=max(means))
        self._season = [TailSurprise(memory) for _ in means]
        self._range = TailSurprise(memory)
        self._low, self._high = math.inf, -math.inf
        self._scale = Scale(memory)
        self._neighbours = Neighbours(memory, lengths)
        self._novelty = [TailSurprise(memory) for _ in lengths]
        self._lift = 0.0
        self._since = self._recipe.quiet_rows
        self.parts = Parts(0.0, 0.0, 0.0)
        """The surprises of the last reading."""

    def update(self, time: float, value: float) -> float:
        """The score of a reading at `time` (seconds since the epoch). One that is NaN or infinite has 0 and is
        forgotten."""
        if not math.isfinite(value):
            self.parts = Parts(0.0, 0.0, 0.0)
            return 0.0
        value = min(max(value, -_LARGEST), _LARGEST)
        self.parts = Parts(self._season_of(time, value), self._range_of(value), self._novelty_of(value))
        recipe = self._recipe
        self._lift *= math.exp(-1 / recipe.lift_rows)
        self._since += 1
        score: float = 1 - 0.5 ** (max(sum(self.parts) - self._lift, 0.0) / recipe.line)
        if score < ALARM:
            return min(score, HELD)
        if self._since <= recipe.quiet_rows:
            return HELD
        self._lift += recipe.lift * recipe.line
        self._since = 0
        return score

    def _season_of(self, time: float, value: float) -> float:
        self._last.append(self._deviation(time, value))
        last = list(self._last)
        pairs = zip(self._season, self._recipe.means, strict=True)
        found = [tail(abs(sum(last[-k:])) / len(last[-k:])) for tail, k in pairs]
        return sum(found) / len(found)

    def _range_of(self, value: float) -> float:
        outside = max(value - self._high, self._low - value, 0.0) if self._high >= self._low else 0.0
        self._low, self._high = min(self._low, value), max(self._high, value)
        return self._range(outside)

    def _novelty_of(self, value: float) -> float:
        pairs = zip(self._novelty, self._neighbours(self._scale(value)), strict=True)
        found = [tail(distance) for tail, distance in pairs]
        return sum(found) / len(found)

"""The forecast of a series: models fitted, weighted, kept, and asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from raftchaos.analytics.forecasts.arima import fit_arima
from raftchaos.analytics.forecasts.combination import NAIVE, Member, try_past, weigh, width
from raftchaos.analytics.forecasts.ets import fit_ets
from raftchaos.analytics.forecasts.fourier import fit_fourier
from raftchaos.analytics.forecasts.gaps import without_gaps
from raftchaos.analytics.forecasts.naive import fit_naive
from raftchaos.analytics.forecasts.periods import find_periods
from raftchaos.analytics.forecasts.transformation import wants_log
from raftchaos.analytics.series import Floats, Series
from raftchaos.errors import UsageError

LONGEST_HORIZON = 10_080  # a week of minutes
LONG_SEASON = 24  # a longer one is described by waves as well
_LONGEST_SEASONAL = 2_000  # readings up to which a long season is described in other ways than by waves too
_LARGEST = 700.0  # e to this power is a number still
_PATHS = 2_000  # that are drawn for the probability of crossing a limit


@dataclass(frozen=True, eq=False)
class Told:
    """What is expected of the next readings. The median is the forecast: half of the readings are to lie on each
    side."""

    times: Floats
    mean: Floats
    naive: Floats
    """What the naive of the longest season says beside it."""
    middle: Floats
    deviation: Floats
    logs: bool
    """Whether `middle` and `deviation` are of logarithms."""
    scores: Floats
    """|error|/deviation of what has come due."""
    carried: Floats
    """How much of a shock is left after so many steps (ψ)."""

    def interval(self, level: float) -> tuple[Floats, Floats]:
        """Lower and upper ends that hold a reading with this probability, each by itself."""
        reach = width(self.scores, level) * self.deviation
        low, high = self.middle - reach, self.middle + reach
        return (_plain(low), _plain(high)) if self.logs else (low, high)

    def crossing(self, limit: float, *, above: bool, seed: int = 0) -> tuple[float, float | None]:
        """Probability that any of the readings is beyond the limit, and when half of those paths have crossed it.

        2000 paths whose errors add up as the models' do, Σ ψⱼ εₜ₋ⱼ, widened as the interval of 80 % is. The second is
        seconds since the epoch, None if no path crosses.
        """
        from scipy.signal import lfilter
        from scipy.stats import norm

        rng = np.random.default_rng(seed)
        shocks = lfilter(self.carried, [1.0], rng.standard_normal((_PATHS, len(self.middle))), axis=1)
        unit = np.sqrt(np.cumsum(self.carried**2))
        widened = width(self.scores, 0.8) / float(norm.ppf(0.9))
        paths = self.middle + shocks / unit * self.deviation * widened
        bound = (np.log(limit) if limit > 0 else -np.inf) if self.logs else limit
        beyond = paths > bound if above else paths < bound
        crossed = beyond.any(axis=1)
        if not crossed.any():
            return 0.0, None
        first = np.sort(beyond[crossed].argmax(axis=1))[int(crossed.sum() - 1) // 2]
        return float(crossed.mean()), float(self.times[first])


@dataclass(frozen=True, eq=False)
class Model:
    """The models of one series and their weights: what is kept between two forecasts."""

    step: float
    start: float
    values: Floats
    """Without gaps, as they were read."""
    periods: tuple[int, ...]
    logs: bool
    members: dict[str, Member]
    weights: dict[str, float]
    scores: Floats
    notes: tuple[str, ...] = ()
    failures: dict[str, str] = field(default_factory=dict)
    """Why a model is not among them."""

    @property
    def words(self) -> str:
        """Which models with which weights."""
        parts = [f"{weight:.0%} {self.members[name]}" for name, weight in self.weights.items()]
        return (" + ".join(parts) if parts else "constant") + (", of logarithms" if self.logs else "")

    def predict(self, horizon: int) -> Told:
        """The next readings."""
        times: Floats = self.start + self.step * (len(self.values) + np.arange(horizon, dtype=np.float64))
        if not self.members:
            level = np.full(horizon, float(self.values[-1]))
            nothing = np.zeros(horizon)
            return Told(times, level, level, level, nothing, False, np.zeros(0), np.r_[1.0, nothing[1:]])
        middle, deviation = np.zeros(horizon), np.zeros(horizon)
        for name, weight in self.weights.items():
            mean, spread = self.members[name].predict(horizon)
            middle += weight * mean
            deviation += weight * spread
        naive = self.members[NAIVE].predict(horizon)[0]
        if self.logs:
            return Told(times, _plain(middle), _plain(naive), middle, deviation, True, self.scores, _carried(deviation))
        return Told(times, middle, naive, middle, deviation, False, self.scores, _carried(deviation))

    def updated(self, series: Series) -> Model:
        """The same models, going on from the end of another series that begins where theirs began."""
        filled = without_gaps(series)
        scale = np.log(filled.values) if self.logs else filled.values
        members = {name: member.updated(scale) for name, member in self.members.items()}
        return replace(self, start=filled.start, values=filled.values, members=members, notes=filled.notes)


def _plain(logs: Floats) -> Floats:
    """What the logarithms are of; far ahead an interval may leave the range of numbers, and stays at its end."""
    return np.exp(np.clip(logs, -_LARGEST, _LARGEST))


def _carried(deviation: Floats) -> Floats:
    """ψ such that the variance after h steps is that of the first h of them; what grows less than linearly is a
    fading shock."""
    variance = deviation**2
    steps = np.sqrt(np.maximum(np.diff(variance, prepend=0.0), 0.0))
    return np.asarray(steps / steps[0]) if steps[0] > 0 else np.r_[1.0, np.zeros(len(steps) - 1)]


def forecast(series: Series, horizon: int, periods: Sequence[int] | None = None) -> Told:
    """The next `horizon` readings of a series. Raises UsageError if it has too few.

    `periods` are its seasons in steps; without them they are looked for.
    """
    return fit(series, horizon, periods).predict(horizon)


def fit(series: Series, horizon: int, periods: Sequence[int] | None = None) -> Model:
    """Fits what suits the series and weighs it by forecasts of its last third. A model that fails is left out and
    named."""
    if not 1 <= horizon <= LONGEST_HORIZON:
        raise UsageError(f"found a horizon of {horizon} steps, expected 1 to {LONGEST_HORIZON}")
    filled = without_gaps(series)
    values = filled.values
    found = find_periods(series) if periods is None else periods
    seasons = tuple(sorted({period for period in found if 1 < period <= len(values) // 2}))
    if np.ptp(values) == 0:
        notes = (*filled.notes, "the series never changed")
        return Model(series.step, filled.start, values, seasons, False, {}, {}, np.zeros(0), notes)
    logs = wants_log(values, seasons[0] if seasons and seasons[0] <= LONG_SEASON else 1)
    scale = np.log(values) if logs else values
    failures: dict[str, str] = {}
    members = _fitted(scale, seasons, failures)
    tried = try_past(members, scale, max(seasons, default=1), horizon, failures.__setitem__)
    weights = weigh(tried)
    scores = tried.scores(weights) if set(weights) <= set(tried.said) else np.zeros(0)
    return Model(series.step, filled.start, values, seasons, logs, members, weights, scores, filled.notes, failures)


def _fitted(scale: Floats, seasons: tuple[int, ...], failures: dict[str, str]) -> dict[str, Member]:
    """The models of a series on its scale; the naive of the longest season is always among them."""
    short = min(seasons, default=1)
    long = tuple(season for season in seasons if season > LONG_SEASON)
    small = len(scale) <= _LONGEST_SEASONAL
    makers: dict[str, Callable[[], Member]] = {}
    if not long or small:
        makers["arima"] = lambda: fit_arima(scale, short)
        makers["ets"] = lambda: fit_ets(scale, short)
    if long:
        makers["fourier"] = lambda: fit_fourier(scale, seasons)
    members: dict[str, Member] = {}
    for name, make in makers.items():
        try:
            members[name] = make()
        except (ValueError, IndexError, np.linalg.LinAlgError, ZeroDivisionError) as error:
            failures[name] = str(error)
    members[NAIVE] = fit_naive(scale, max(seasons, default=1))
    return members

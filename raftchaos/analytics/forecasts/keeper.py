"""A model is kept from forecast to forecast: it goes on with new readings, learns from its errors, and is fitted anew
only when it drifts."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from raftchaos.analytics.forecasts.combination import LEAST_DUE
from raftchaos.analytics.forecasts.forecast import Model, Told, fit
from raftchaos.analytics.series import Floats, Series

MOST_SCORES = 1_000  # errors that have come due and are remembered
MOST_OPEN = 64  # forecasts that wait for what they predicted
_DRIFT_ERRORS = 20  # latest one-step errors that are looked at
_DRIFT_LEVEL = 1e-4  # of the test that the model is as good as it was
_GROWTH = 1.5  # times the readings of the last fit: more readings carry better orders


class Keeper:
    """The forecasts of one metric, over time.

    Give it the metric's series as it grows: `update` returns the forecast. Errors of earlier forecasts that have come
    due since join those of the fit and widen the intervals.
    """

    def __init__(self, horizon: int, periods: Sequence[int] | None = None) -> None:
        self.horizon = horizon
        self._periods = periods
        self._model: Model | None = None
        self._fitted_on = 0
        self._open: deque[Told] = deque(maxlen=MOST_OPEN)
        self._scores: deque[float] = deque(maxlen=MOST_SCORES)
        self._next: deque[float] = deque(maxlen=_DRIFT_ERRORS)
        self.fits = 0
        """How often a model was fitted."""

    @property
    def model(self) -> Model | None:
        """The model that is kept; None before the first update."""
        return self._model

    def update(self, series: Series) -> Told:
        """The forecast after the last reading of the series. Raises UsageError if it has too few readings."""
        self._settle(series)
        if self._model is None or self._drifted() or not self._goes_on(series):
            self._refit(series)
        else:
            self._model = self._model.updated(series)
        model = self._model
        assert model is not None
        told = model.predict(self.horizon)
        if self._scores:
            told = replace(told, scores=np.sort(np.r_[told.scores, np.array(self._scores)]))
        self._open.append(told)
        return told

    def _refit(self, series: Series) -> None:
        self._model = fit(series, self.horizon, self._periods)
        self._fitted_on = len(self._model.values)
        self._open.clear()
        self._scores.clear()
        self._next.clear()
        self.fits += 1

    def _goes_on(self, series: Series) -> bool:
        """Whether the series is the one that the model knows, longer, but not so much that another model may suit
        it."""
        model = self._model
        assert model is not None
        if not model.members or abs(series.step - model.step) > 1e-6 * model.step:
            return False
        known = np.isfinite(series.values)
        if not known.any() or abs(float(series.times[int(known.argmax())]) - model.start) > 0.5 * model.step:
            return False
        within = series.values[known]
        return len(series) <= _GROWTH * self._fitted_on and not (model.logs and float(within.min()) <= 0)

    def _settle(self, series: Series) -> None:
        """Forecasts that have come due, whole or in part, are compared with what came."""
        waiting = list(self._open)
        self._open.clear()
        for told in waiting:
            scores, left = _scores(told, series)
            if len(scores):
                self._scores.extend(scores.tolist())
                self._next.append(float(scores[0]))
            if left is not None:
                self._open.append(left)

    def _drifted(self) -> bool:
        """Whether the latest errors are larger than the model said: Σ (error/deviation)² against χ² (a CUSUM of squares
        over a fixed window, Brown, Durbin & Evans 1975), the deviation taken as the intervals have it."""
        from scipy.stats import chi2

        model = self._model
        if model is None or len(self._next) < LEAST_DUE:
            return False
        usual = max(1.0, float(np.mean(model.scores**2))) if len(model.scores) else 1.0
        found = float(np.sum(np.square(self._next))) / usual
        return float(chi2.sf(found, len(self._next))) < _DRIFT_LEVEL


def _scores(told: Told, series: Series) -> tuple[Floats, Told | None]:
    """|error|/deviation of each reading that came since, and what of the forecast is still open."""
    place = (
        np.round((told.times - series.times[0]) / series.step).astype(int) if len(series) else np.zeros(0, dtype=int)
    )
    came = (place >= 0) & (place < len(series))
    if not came.any():
        return np.zeros(0), told
    actual = series.values[place[came]]
    if told.logs:
        actual = np.log(np.where(actual > 0, actual, np.nan))
    scores = np.abs(actual - told.middle[came]) / np.maximum(told.deviation[came], 1e-300)
    rest = ~came
    left = None
    if rest.any():
        left = replace(
            told,
            times=told.times[rest],
            mean=told.mean[rest],
            naive=told.naive[rest],
            middle=told.middle[rest],
            deviation=told.deviation[rest],
        )
    return scores[np.isfinite(scores)], left

"""Exponential smoothing by ETSModel of statsmodels: additive errors, no, straight or damped trend, no or additive
season.

On the transformed scale additive forms are enough: with logarithms they are the multiplicative ones.
Hyndman, Koehler, Ord & Snyder 2008, chapters 2 (equations), 6 (variances) and 7 (selection).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raftchaos.analytics.forecasts.transformation import seasonal_strength
from raftchaos.analytics.series import Floats

LONGEST_SEASON = 24  # a longer one is taken off by STL first
_SEASON_SURE, _SEASON_NONE = 0.4, 0.1  # seasonal strengths beyond which the other form is not tried
_ITERATIONS = 200


@dataclass(frozen=True)
class Form:
    """Which states there are."""

    trend: bool
    damped: bool
    season: int  # 1: none

    def __str__(self) -> str:
        trend = "Ad" if self.damped else "A" if self.trend else "N"
        return f"ETS(A,{trend},{'A' if self.season > 1 else 'N'})" + (f"[{self.season}]" if self.season > 1 else "")


@dataclass(frozen=True, eq=False)
class Ets:
    """A fitted model and the readings that it goes on from."""

    values: Floats
    form: Form
    level: float
    trend: float
    seasonal: float
    damping: float
    """Smoothing parameters α, β, γ, φ."""
    start: Floats
    """First level and trend, then the season, oldest first."""
    variance: float
    repeated: Floats | None = None
    """A season that STL took off and that is put back as it was last; None if there is none."""

    def __str__(self) -> str:
        return f"STL + {self.form}" if self.repeated is not None else str(self.form)

    def predict(self, horizon: int) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the next readings."""
        return self.from_origins(np.array([len(self.values)]), horizon)[0], self.deviations(horizon)

    def deviations(self, horizon: int) -> Floats:
        """σ √(1 + Σ cⱼ²), cⱼ = α + β (φ + … + φʲ) + γ once a season (Hyndman et al. 2008, table 6.1)."""
        lag = np.arange(1, horizon)
        moved = self.level + self.trend * np.cumsum(self.damping**lag)
        if self.form.season > 1:
            moved = moved + self.seasonal * (lag % self.form.season == 0)
        return np.asarray(np.sqrt(self.variance * np.r_[1.0, 1.0 + np.cumsum(moved**2)]))

    def from_origins(self, origins: Any, horizon: int) -> Floats:
        """What it would have said after so many readings of its own: a row an origin."""
        wanted = np.asarray(origins)
        states = self._states(set(wanted.tolist()))
        steps = np.arange(1, horizon + 1)
        rows = []
        for origin in wanted:
            level, slope, season = states[int(origin)]
            row = level + slope * np.cumsum(self.damping**steps)
            if self.repeated is not None:
                row = row + self.repeated[(origin + steps - 1) % len(self.repeated)]
            rows.append(row + season[(steps - 1) % len(season)])
        return np.array(rows)

    def _states(self, wanted: set[int]) -> dict[int, tuple[float, float, Floats]]:
        level, slope = float(self.start[0]), float(self.start[1])
        season = self.start[2:].tolist()
        count = len(season)
        values = self.values
        if self.repeated is not None:
            values = values - self.repeated[np.arange(len(values)) % len(self.repeated)]
        found = {0: (level, slope, np.array(season))} if 0 in wanted else {}
        for place, value in enumerate(values.tolist()):
            at = place % count
            drifted = self.damping * slope
            error = value - level - drifted - season[at]
            level += drifted + self.level * error
            slope = drifted + self.trend * error
            season[at] += self.seasonal * error
            if place + 1 in wanted:
                turned = (place + 1) % count
                found[place + 1] = (level, slope, np.array(season[turned:] + season[:turned]))
        return found

    def updated(self, values: Floats) -> Ets:
        """The same model after other readings that begin where its own began."""
        return replace(self, values=values)

    def trained_on(self, values: Floats) -> Ets:
        """The same form, its parameters estimated on these readings only. Raises ValueError if that fails."""
        if self.repeated is not None:
            return _beside_stl(values, len(self.repeated), [self.form])
        found = _fit(values, self.form)
        if found is None:
            raise ValueError("exponential smoothing found no parameters")
        return found[1]


def fit_ets(values: Floats, season: int) -> Ets:
    """The form with the least AICc. Values without gaps. Raises ValueError if no form can be fitted."""
    forms = [Form(False, False, 1), Form(True, False, 1), Form(True, True, 1)]
    if season > LONGEST_SEASON:
        return _beside_stl(values, season, forms)
    if season > 1 and len(values) >= 2 * season + 5:
        strength = seasonal_strength(values, season)
        seasonal = [replace(form, season=season) for form in forms]
        forms = seasonal if strength > _SEASON_SURE else forms if strength < _SEASON_NONE else forms + seasonal
    return _best(values, forms)


def _best(values: Floats, forms: list[Form]) -> Ets:
    fitted = [found for form in forms if (found := _fit(values, form)) is not None]
    if not fitted:
        raise ValueError(f"none of {len(forms)} forms of exponential smoothing could be fitted")
    return min(fitted, key=lambda one: one[0])[1]


def _beside_stl(values: Floats, season: int, forms: list[Form]) -> Ets:
    """The season by STL, what is left by smoothing (as stlf of R's forecast)."""
    from statsmodels.tsa.seasonal import STL

    parts = STL(values, period=season, seasonal=7, robust=True).fit()
    count = len(values)
    last = np.asarray(parts.seasonal)[count - season :]
    repeated = np.roll(last, count % season)  # so that place % season finds it
    found = _best(values - np.asarray(parts.seasonal), forms)
    return replace(found, values=values, repeated=repeated)


def _fit(values: Floats, form: Form) -> tuple[float, Ets] | None:
    """AICc and model; None if the fit failed."""
    import pandas as pd
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    scale = float(np.std(values)) or 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an optimiser that stopped early is told by the AICc of what it found
        try:
            model = ETSModel(
                pd.Series(values / scale),
                error="add",
                trend="add" if form.trend else None,
                damped_trend=form.damped,
                seasonal="add" if form.season > 1 else None,
                seasonal_periods=form.season if form.season > 1 else None,
                initialization_method="heuristic",
            )
            done = model.fit(disp=0, maxiter=_ITERATIONS)
        except (ValueError, np.linalg.LinAlgError, ZeroDivisionError, IndexError):
            return None
    if not np.isfinite(done.aicc):
        return None
    given = dict(zip(done.param_names, np.asarray(done.params).tolist(), strict=True))
    trend = float(done.initial_trend) * scale if form.trend else 0.0
    season = np.asarray(done.initial_seasonal, dtype=np.float64) * scale if form.season > 1 else np.zeros(1)
    made = Ets(
        values,
        form,
        level=given["smoothing_level"],
        trend=given.get("smoothing_trend", 0.0),
        seasonal=given.get("smoothing_seasonal", 0.0),
        damping=given.get("damping_trend", 1.0),
        start=np.r_[float(done.initial_level) * scale, trend, season],
        variance=float(np.mean(np.asarray(done.resid) ** 2))
        * scale**2
        * len(values)
        / max(1, len(values) - len(given) - 1),
    )
    return float(done.aicc), made

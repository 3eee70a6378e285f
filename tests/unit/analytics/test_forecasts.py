"""Forecasts: each model by what it must reproduce, their combination, its intervals, and a model that is kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from raftchaos.analytics.forecasts.arima import fit_arima
from raftchaos.analytics.forecasts.combination import NAIVE, Tried, weigh, width
from raftchaos.analytics.forecasts.css import Orders, estimate, polynomials
from raftchaos.analytics.forecasts.decomposition import decompose
from raftchaos.analytics.forecasts.ets import Form, fit_ets
from raftchaos.analytics.forecasts.findings import finding, insight, settled
from raftchaos.analytics.forecasts.forecast import fit, forecast
from raftchaos.analytics.forecasts.fourier import fit_fourier
from raftchaos.analytics.forecasts.gaps import without_gaps
from raftchaos.analytics.forecasts.keeper import Keeper
from raftchaos.analytics.forecasts.naive import fit_naive
from raftchaos.analytics.forecasts.periods import find_periods
from raftchaos.analytics.forecasts.transformation import differences, kpss, wants_log
from raftchaos.analytics.series import Floats, Series
from raftchaos.errors import UsageError


def ar1(count: int, rho: float, seed: int) -> Floats:
    shocks = np.random.default_rng(seed).normal(size=count + 200)
    return np.asarray(lfilter([1.0], [1.0, -rho], shocks))[200:]


def hours(values: object) -> Series:
    return Series.regular(1_700_000_000.0, 3_600.0, values)  # type: ignore[arg-type]


def daily(count: int, seed: int = 0, noise: float = 1.0) -> Floats:
    return 100 + 20 * np.sin(2 * np.pi * np.arange(count) / 24) + noise * ar1(count, 0.5, seed)


def test_conditional_least_squares_finds_the_coefficient() -> None:
    found = estimate(ar1(800, 0.7, 1), Orders(1, 0, 0, 0, 0, 0, 1))
    assert found.coefficients[0] == pytest.approx(0.7, abs=0.07)
    assert found.variance == pytest.approx(1.0, rel=0.15)


def test_seasonal_factors_are_multiplied_in() -> None:
    ar, ma = polynomials(np.array([0.5, 0.4, 0.3, -0.2]), Orders(1, 0, 1, 1, 0, 1, 4))
    assert ar.tolist() == pytest.approx([1, -0.5, 0, 0, -0.3, 0.15])
    assert ma.tolist() == pytest.approx([1, 0.4, 0, 0, -0.2, -0.08])


def test_the_difference_equation_says_what_the_exact_filter_says() -> None:
    model = fit_arima(np.cumsum(ar1(200, 0.5, 2)), 1)
    mean, deviation = model.predict(6)
    assert model.exact is not None
    assert model.from_origins(np.array([200]), 6)[0] == pytest.approx(mean, abs=1e-3)
    assert model.deviations(6) == pytest.approx(deviation, rel=1e-3)


def test_a_model_goes_on_with_new_readings_without_a_fit() -> None:
    values = ar1(150, 0.8, 3)
    model = fit_arima(values[:140], 1)
    later = model.updated(values)
    assert later.found is model.found
    assert later.predict(1)[0][0] == pytest.approx(model.from_origins(np.array([140]), 1)[0, 0], abs=5)
    assert later.from_origins(np.array([140]), 3)[0] == pytest.approx(model.predict(3)[0], abs=1e-3)


def test_white_noise_gets_no_coefficients_and_a_walk_one_difference() -> None:
    assert differences(ar1(200, 0.0, 5)) == 0
    assert differences(np.cumsum(ar1(200, 0.0, 5))) == 1
    assert kpss(np.ones(20)) == 0


def test_growth_by_a_share_wants_logarithms() -> None:
    steps = np.random.default_rng(5).normal(0.02, 0.05, 150)
    assert wants_log(np.exp(3 + np.cumsum(steps)), 1)
    assert not wants_log(100 + ar1(150, 0.5, 5), 1)
    assert not wants_log(ar1(150, 0.5, 5), 1)


def test_smoothing_says_what_statsmodels_says() -> None:
    import pandas as pd
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    values = daily(96, 6) + 0.1 * np.arange(96)
    ours = fit_ets(values, 24)
    assert ours.form.season == 24
    theirs = ETSModel(
        pd.Series(values), error="add", trend="add" if ours.form.trend else None, damped_trend=ours.form.damped,
        seasonal="add", seasonal_periods=24, initialization_method="heuristic",
    ).fit(disp=0, maxiter=200)  # fmt: skip
    assert ours.predict(10)[0] == pytest.approx(np.asarray(theirs.forecast(10)), abs=0.5)


def test_deviations_of_smoothing_grow_with_the_steps() -> None:
    found = fit_ets(np.cumsum(ar1(80, 0.0, 7)), 1)
    assert found.form in (Form(False, False, 1), Form(True, False, 1), Form(True, True, 1))
    assert (np.diff(found.deviations(5)) > 0).all()


def test_waves_follow_a_long_season() -> None:
    place = np.arange(6 * 288)
    values = 10 * np.sin(2 * np.pi * place / 288) + ar1(len(place), 0.6, 8)
    found = fit_fourier(values, [288])
    truth = 10 * np.sin(2 * np.pi * (len(place) + np.arange(144)) / 288)
    assert found.waves[0][1] <= 3
    assert np.abs(found.predict(144)[0][20:] - truth[20:]).max() < 2


def test_the_naive_repeats_its_season() -> None:
    model = fit_naive(np.arange(10.0), 4)
    assert model.predict(6)[0].tolist() == [6, 7, 8, 9, 6, 7]
    assert model.deviations(5)[4] == pytest.approx(np.sqrt(2) * model.deviations(5)[0])
    assert fit_naive(np.arange(3.0), 4).season == 1


def test_periods_by_the_clock_and_by_the_periodogram() -> None:
    assert find_periods(hours(daily(24 * 7))) == (24,)
    odd = np.sin(2 * np.pi * np.arange(130) / 13) + 0.3 * ar1(130, 0.0, 9)
    assert find_periods(Series.regular(0.0, 7.0, odd)) == (13,)
    assert find_periods(hours(ar1(300, 0.9, 10))) == ()
    assert find_periods(hours(np.ones(100))) == ()


def test_a_day_within_a_week() -> None:
    place = np.arange(24 * 28)
    weekend = np.where(place // 24 % 7 >= 5, -30.0, 0.0)
    assert find_periods(hours(daily(len(place)) + weekend)) == (24, 168)


def test_decomposition_adds_up() -> None:
    values = daily(24 * 8) + 0.1 * np.arange(24 * 8)
    found = decompose(hours(values))
    assert list(found.seasonal) == [24]
    assert found.trend + found.seasonal[24] + found.rest == pytest.approx(values)
    assert list(decompose(hours(values), (12, 24)).seasonal) == [12, 24]
    assert decompose(hours(ar1(50, 0.0, 11))).seasonal == {}
    with pytest.raises(UsageError, match="expected 2 to 96"):
        decompose(hours(values), (100,))


def test_weights_are_inverse_to_the_errors_and_the_naive_must_win_to_count() -> None:
    truth = np.zeros((5, 2))
    said = {"arima": truth + 1.0, "ets": truth + 2.0, NAIVE: truth + 3.0}
    tried = Tried(said, {name: np.ones(2) for name in said}, truth)
    assert weigh(tried) == pytest.approx({"arima": 16 / 17, "ets": 1 / 17})
    said[NAIVE] = truth + 0.1
    assert weigh(tried)[NAIVE] > 0.9
    assert weigh(Tried({}, {}, truth)) == {NAIVE: 1.0}


def test_an_interval_is_widened_only_by_eight_errors_and_never_narrowed() -> None:
    assert width([9.0] * 7, 0.8) == pytest.approx(1.2816, abs=1e-3)
    assert width([9.0] * 8, 0.8) == 9.0
    assert width([0.1] * 50, 0.8) == pytest.approx(1.2816, abs=1e-3)


def test_a_forecast_of_a_day_beats_the_last_reading() -> None:
    values = daily(24 * 8)
    told = forecast(hours(values[:-24]), 24)
    assert np.abs(told.mean - values[-24:]).mean() < 2.5
    low, high = told.interval(0.95)
    assert ((low <= values[-24:]) & (values[-24:] <= high)).mean() > 0.8
    assert told.times[0] == 1_700_000_000.0 + 3_600.0 * 24 * 7
    assert told.naive.tolist() == values[-48:-24].tolist()


def test_ten_readings_gaps_and_a_constant() -> None:
    assert np.isfinite(forecast(hours(ar1(10, 0.0, 12)), 3).mean).all()
    values = daily(120)
    values[[3, 50, 51]] = np.nan
    assert fit(hours(values), 3).notes == ("3 gaps are filled by straight lines",)
    model = fit(hours(np.full(20, 5.0)), 3)
    assert model.predict(3).mean.tolist() == [5.0, 5.0, 5.0]
    assert model.predict(3).interval(0.95)[0].tolist() == [5.0, 5.0, 5.0]
    assert "never changed" in model.notes[0]


@pytest.mark.parametrize(
    ("values", "horizon", "told"),
    [([1.0] * 9, 3, "expected at least 10"), ([1.0] * 20, 0, "horizon of 0"), ([1.0] * 20, 10**6, "horizon of")],
)
def test_what_cannot_be_forecast_is_refused(values: list[float], horizon: int, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        forecast(hours(values), horizon)


def test_mostly_gaps_are_refused() -> None:
    values = np.full(60, np.nan)
    values[::5] = 1.0
    with pytest.raises(UsageError, match="at most a third"):
        without_gaps(hours(values))


def test_a_limit_is_crossed_when_the_line_crosses_it() -> None:
    told = forecast(hours(np.arange(60.0) + 0.2 * ar1(60, 0.0, 13)), 20)
    probability, when = told.crossing(69.5, above=True)
    assert probability > 0.99
    assert when == pytest.approx(1_700_000_000.0 + 70 * 3_600.0, abs=2 * 3_600.0)
    assert told.crossing(1_000.0, above=True) == (0.0, None)
    assert told.crossing(40.0, above=False)[0] == 0.0


def test_an_insight_says_what_to_do_and_later_how_right_it_was() -> None:
    told = forecast(hours(np.arange(60.0) + 0.2 * ar1(60, 0.0, 13)), 20)
    made = insight("disk_percent", told, limit=69.5)
    assert made.recommendation.startswith("act now: disk_percent will be above 69.5 in about 10 h")
    assert made.horizon_seconds == 20 * 3_600.0
    assert settled(made, made.predicted).error_ratio == 0
    assert settled(made, made.high).error_ratio == pytest.approx(1.0)
    assert "nothing to do" in insight("disk_percent", told, limit=500.0).recommendation


def test_a_finding_holds_every_step() -> None:
    series = hours(daily(96))
    model = fit(series, 5)
    found = finding("requests", model, model.predict(5))
    assert len(found.expected) == 5
    assert all(one.low95 <= one.low80 <= one.value <= one.high80 <= one.high95 for one in found.expected)
    assert found.model_dump(by_alias=True)["stepSeconds"] == 3_600.0


def test_a_model_is_kept_until_it_drifts() -> None:
    values = ar1(140, 0.5, 14) + 50
    keeper = Keeper(1, periods=())
    for end in range(100, 125):
        keeper.update(hours(values[:end]))
    assert keeper.fits == 1
    assert keeper.model is not None
    assert len(keeper.model.values) == 124
    drifted = values + np.where(np.arange(140) >= 125, 10 * np.arange(140) % 37, 0.0)
    for end in range(125, 141):
        keeper.update(hours(drifted[:end]))
    assert keeper.fits >= 2


def test_a_model_that_has_grown_is_fitted_anew() -> None:
    values = ar1(100, 0.5, 15)
    keeper = Keeper(2, periods=())
    keeper.update(hours(values[:40]))
    keeper.update(hours(values[:60]))
    assert keeper.fits == 1
    keeper.update(hours(values[:61]))
    assert keeper.fits == 2

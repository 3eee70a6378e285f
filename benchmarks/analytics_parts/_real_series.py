"""The real series that are shipped inside statsmodels and pmdarima, each with its season and a usual horizon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

SEASONS = 28  # of a long series the last so many seasons are used: four weeks of half hours, 28 years of months
SHORTEST = 600  # but at least so many readings, where a season is short


@dataclass(frozen=True)
class Real:
    """One series: its values, oldest first, the readings of one season, and how many are forecast at once."""

    name: str
    values: Values
    season: int
    horizon: int


def real_series() -> list[Real]:
    """All of them, in a fixed order. Gaps are filled by a straight line, as none of the rivals takes a gap."""
    return [
        Real(name, _filled(np.asarray(values, dtype=np.float64))[-_kept(season) :], season, horizon)
        for name, values, season, horizon in (*_statsmodels(), *_pmdarima())
    ]


def _kept(season: int) -> int:
    return SHORTEST if season in (1, 4, 5, 52) else SEASONS * season


def _filled(values: Values) -> Values:
    known = np.isfinite(values)
    return np.interp(np.arange(len(values)), np.flatnonzero(known), values[known])


def _statsmodels() -> Iterator[tuple[str, object, int, int]]:
    import statsmodels.datasets.elec_equip.data as elec_equip
    from statsmodels import datasets

    co2 = datasets.co2.load_pandas().data["co2"]
    yield "co2, monthly", co2.resample("MS").mean().to_numpy(), 12, 12
    yield "co2, weekly", co2.to_numpy(), 52, 12
    elnino = datasets.elnino.load_pandas().data
    yield "elnino, monthly", elnino.iloc[:, 1:].to_numpy().ravel(), 12, 12
    equipment = elec_equip.load_pandas().data
    yield "elec_equip, monthly", equipment.iloc[:, -1].to_numpy(), 12, 12
    macro = datasets.macrodata.load_pandas().data
    for name in ("realgdp", "realcons", "realinv", "realgovt", "cpi", "m1", "tbilrate", "unemp", "infl"):
        yield f"macrodata {name}, quarterly", macro[name].to_numpy(), 4, 8
    rates = datasets.interest_inflation.load_pandas().data
    yield "interest_inflation Dp, quarterly", rates["Dp"].to_numpy(), 4, 8
    yield "interest_inflation R, quarterly", rates["R"].to_numpy(), 4, 8
    danish = datasets.danish_data.load_pandas().data
    yield "danish_data lrm, quarterly", danish["lrm"].to_numpy(), 4, 4
    yield "danish_data lry, quarterly", danish["lry"].to_numpy(), 4, 4
    yield "nile, yearly", datasets.nile.load_pandas().data["volume"].to_numpy(), 1, 6


def _pmdarima() -> Iterator[tuple[str, object, int, int]]:
    from pmdarima import datasets

    yield "airpassengers, monthly", datasets.load_airpassengers(), 12, 12
    yield "wineind, monthly", datasets.load_wineind(), 12, 12
    yield "ausbeer, quarterly", datasets.load_ausbeer(), 4, 8
    yield "austres, quarterly", datasets.load_austres(), 4, 8
    yield "woolyrnq, quarterly", datasets.load_woolyrnq(), 4, 8
    yield "heartrate, half seconds", datasets.load_heartrate(), 1, 6
    yield "lynx, yearly", datasets.load_lynx(), 1, 6
    yield "sunspots, monthly", datasets.load_sunspots(), 12, 12
    yield "msft, close of the day", datasets.load_msft()["Close"].to_numpy(), 5, 10
    yield "taylor, half hours", datasets.load_taylor(), 48, 48

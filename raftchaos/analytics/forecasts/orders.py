"""The orders of an ARIMA, chosen by AICc in steps (Hyndman & Khandakar 2008), each tried by conditional least
squares."""

from __future__ import annotations

from collections.abc import Iterator

from raftchaos.analytics.forecasts.css import Estimate, Orders, differenced, estimate
from raftchaos.analytics.forecasts.transformation import SEASONAL_STRENGTH, differences, seasonal_strength
from raftchaos.analytics.series import Floats

MOST_LAGS = 4  # p and q
MOST_COEFFICIENTS = 6
_STEPS = 12
_SHORT_SEASON = 24
_MOVES = (
    (1, 0, 0, 0), (-1, 0, 0, 0), (0, 1, 0, 0), (0, -1, 0, 0), (1, 1, 0, 0), (-1, -1, 0, 0),
    (0, 0, 1, 0), (0, 0, -1, 0), (0, 0, 0, 1), (0, 0, 0, -1), (0, 0, 1, 1), (0, 0, -1, -1),
)  # fmt: skip
_Place = tuple[int, int, int, int, bool]


def choose(values: Floats, season: int) -> Estimate:
    """The ARIMA with the least AICc that the steps find. D by the strength of the season, d by KPSS."""
    if season > 1 and len(values) <= 2 * season + 8:
        season = 1
    seasonal_d = int(season > 1 and seasonal_strength(values, season) > SEASONAL_STRENGTH)
    rest = values[season:] - values[:-season] if seasonal_d else values
    d = differences(rest, 1 if seasonal_d else 2)
    search = _Search(values, d, seasonal_d, season)
    return search.run()


class _Search:
    def __init__(self, values: Floats, d: int, seasonal_d: int, season: int) -> None:
        self._values = values
        self._d, self._seasonal_d, self._season = d, seasonal_d, season
        self._length = len(differenced(values, self._orders((0, 0, 0, 0, False))))
        self._may_drift = d + seasonal_d <= 1
        self._tried: dict[_Place, Estimate] = {}

    def run(self) -> Estimate:
        seasonal = int(self._season > 1)
        drift = self._may_drift
        for p, q, seasonal_p, seasonal_q in (
            (2, 2, seasonal, seasonal), (0, 0, 0, 0), (1, 0, seasonal, 0), (0, 1, 0, seasonal), (1, 1, 0, seasonal)
        ):  # fmt: skip
            self._try((p, q, seasonal_p, seasonal_q, drift))
        best = self._best()
        for _ in range(_STEPS):
            for place in self._beside(best):
                self._try(place)
            better = self._best()
            if better == best:
                break
            best = better
        return self._tried[best]

    def _best(self) -> _Place:
        return min(self._tried, key=lambda place: self._tried[place].aicc)

    def _beside(self, place: _Place) -> Iterator[_Place]:
        p, q, seasonal_p, seasonal_q, drift = place
        for one, two, three, four in _MOVES:
            yield p + one, q + two, seasonal_p + three, seasonal_q + four, drift
        if self._may_drift:
            yield p, q, seasonal_p, seasonal_q, not drift

    def _try(self, place: _Place) -> None:
        if place not in self._tried and self._sensible(place):
            self._tried[place] = estimate(self._values, self._orders(place), drift=place[4])

    def _sensible(self, place: _Place) -> bool:
        p, q, seasonal_p, seasonal_q, _ = place
        seasonal = seasonal_p + seasonal_q
        most_seasonal = (2 if self._season <= _SHORT_SEASON else 1) if self._season > 1 else 0
        if (
            min(p, q, seasonal_p, seasonal_q) < 0
            or max(p, q) > MOST_LAGS
            or max(seasonal_p, seasonal_q) > most_seasonal
        ):
            return False
        if (p, q, seasonal) == (0, 0, 0):
            return True
        total = p + q + seasonal
        return total <= MOST_COEFFICIENTS and self._length >= max(1.5 * seasonal * self._season + 10, 3 * total + 5)

    def _orders(self, place: _Place) -> Orders:
        p, q, seasonal_p, seasonal_q, _ = place
        return Orders(p, self._d, q, seasonal_p, self._seasonal_d, seasonal_q, self._season)

"""The instants at which a pulse comes and goes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raftchaos import limits


@dataclass(frozen=True, slots=True)
class Schedule:
    """On for `active` seconds, off for `dormant` seconds, again and again, from `first` on (CLOCK_BOOTTIME seconds)."""

    first: float
    active: float
    dormant: float

    def on(self, now: float) -> bool:
        """Whether it is on at this instant. At the instant of a switch it has switched."""
        return now >= self.first and self._round(now)[1] < self.active

    def next_switch(self, now: float) -> float:
        """When it comes or goes next, always later than `now`."""
        if now < self.first:
            return self.first
        begun, into = self._round(now)
        if into < self.active:
            return max(begun + self.active, now + _LEAST)
        return max(begun + self.active + self.dormant, now + _LEAST)

    def _round(self, now: float) -> tuple[float, float]:
        """When the present round began, and how long ago."""
        whole = self.active + self.dormant
        into = (now - self.first) % whole
        return now - into, into


_LEAST = 0.001  # rounding must not make a timer that is due at once, for ever


def read_schedule(parameters: Mapping[str, Any], began: float) -> Schedule | None:
    """The schedule of the parameter `pulse` of a fault that `began` then; None without one. Raises ValueError."""
    pulse = parameters.get("pulse")
    if pulse is None:
        return None
    if not isinstance(pulse, Mapping):
        raise ValueError(f"pulse is {pulse!r}, expected activeSeconds, dormantSeconds, initialDelaySeconds")
    active, dormant = (_span(pulse, name, limits.RHYTHM_SHORTEST) for name in ("activeSeconds", "dormantSeconds"))
    return Schedule(began + _span({"initialDelaySeconds": 0.0, **pulse}, "initialDelaySeconds", 0.0), active, dormant)


def _span(pulse: Mapping[str, Any], name: str, least: float) -> float:
    value = pulse.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= limits.STEP_DURATION:
        raise ValueError(f"{name} of the pulse is {value!r}, expected {least:g} to {limits.STEP_DURATION:g} seconds")
    return float(value)

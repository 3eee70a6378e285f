"""When a fault is switched within its run: the beats of a pulse or of a repetition, drawn from its seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from raftchaos.model.faults.base import SHARED


class Beat(NamedTuple):
    """One time that a fault is on."""

    wait: float
    """Seconds from the end of the beat before, or from the start of the run, until it comes on."""
    lasts: float
    """Seconds that it is on; 0 for a one-shot fault, which is done and over."""


AT_ONCE = Beat(0.0, 0.0)


def beats(parameters: Mapping[str, Any], seed: int) -> Iterator[Beat] | None:
    """The beats that the parameters of a fault ask for, without end; None if it is simply on.

    The parameters are complete and checked. Random intervals are the same for the same seed.
    """
    pulse, every = parameters.get("pulse"), parameters.get("every")
    if pulse is not None:
        return _pulse(pulse["initialDelaySeconds"], pulse["activeSeconds"], pulse["dormantSeconds"])
    if every is not None:
        return _repetition(every, random.Random(seed))
    return None


def without_rhythm(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What is done, without when."""
    return {name: value for name, value in parameters.items() if name not in SHARED}


def _pulse(delay: float, active: float, dormant: float) -> Iterator[Beat]:
    yield Beat(delay, active)
    while True:
        yield Beat(dormant, active)


def _repetition(every: Mapping[str, float], chance: random.Random) -> Iterator[Beat]:
    yield Beat(0.0, 0.0)
    while True:
        mean = every.get("meanSeconds")
        yield Beat(every["seconds"] if mean is None else chance.expovariate(1 / mean), 0.0)

"""What the agent remembers of the runs on this node: the observed side, which it alone writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from raftchaos.model.runs import Effect, RunId, RunStatus

OVER = -1
"""Stands for the lease of a grant that can never be injected any more."""


class Phase(StrEnum):
    """Where a run is on this node."""

    STARTING = "starting"
    """Its undo record and its injection are under way."""
    ON = "on"
    RECOVERING = "recovering"
    OFF = "off"
    """Nothing of it is on; only its end is to be told."""


@dataclass(slots=True)
class LocalRun:
    """One run on this node, in this incarnation."""

    id: RunId
    targets: tuple[str, ...]
    types: frozenset[str]
    """Types of its faults."""
    duration: float
    """Seconds that it is to be on."""
    lease: int
    """Epoch of the lease that it was started under; it must not outlive that one."""
    phase: Phase = Phase.STARTING
    started: float = 0.0
    """Boot seconds at which everything was on."""
    status: RunStatus | None = None
    """What it ends as; set when its recovery begins."""
    reason: str = ""
    effects: tuple[Effect, ...] = field(default_factory=tuple)
    stuck: bool = False
    """Its recovery has failed for `limits.RECOVERY_GIVE_UP`; it is tried on."""
    problem: str = ""
    """Why its last try to recover failed."""
    told: bool = False
    """Its end was told after the cluster had ended it by itself, for the sake of its effects."""

    @property
    def present(self) -> bool:
        """Whether something of it is, or may be, on."""
        return self.phase is not Phase.OFF

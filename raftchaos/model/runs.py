"""A run: one step on one node. Its life cycle stands in `core.transitions`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from raftchaos.errors import UsageError

ANY_NODE = "*"
"""The node of an offered run (peerToPeer): whoever is granted it first is its taker."""


class RunId(NamedTuple):
    """Names a run for ever. `iteration` and `attempt` count from 1, `step` is the index in the list of steps."""

    task: str
    iteration: int
    step: int
    node: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.task}/{self.iteration}/{self.step}/{self.node}/{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> RunId:
        """The reverse of `str()`. Raises `UsageError` for anything else."""
        parts = text.split("/")
        try:
            task, iteration, step, node, attempt = parts
            return cls(task, int(iteration), int(step), node, int(attempt))
        except ValueError:
            raise UsageError(f"found the run id {text!r}, expected task/iteration/step/node/attempt") from None


class RunStatus(StrEnum):
    """Where a run is. The words are those of the API and of the metrics."""

    PLANNED = "planned"
    GRANTED = "granted"
    ACTIVE = "active"
    RECOVERING = "recovering"
    SUCCEEDED = "succeeded"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    RECOVERY_FAILED = "recoveryFailed"
    SKIPPED = "skipped"


class InterruptReason(StrEnum):
    """Why a run was ended before its time."""

    LEASE = "leaseEnded"
    HALT = "halted"
    CANCEL = "cancelled"
    PAUSE = "paused"
    NODE_FAILED = "nodeFailed"
    RESTART = "peerRestarted"
    DEADLINE = "deadline"
    STEP_FAILED = "stepFailed"


LIVE = frozenset({RunStatus.GRANTED, RunStatus.ACTIVE, RunStatus.RECOVERING})
"""May be under its fault: counts for limits, targets and sequential."""

ENDED = frozenset(
    {
        RunStatus.SUCCEEDED,
        RunStatus.DONE,
        RunStatus.FAILED,
        RunStatus.INTERRUPTED,
        RunStatus.RECOVERY_FAILED,
        RunStatus.SKIPPED,
    }
)

Effect = dict[str, int]
"""What one fault of a run did, counted where it happened. `touched` is the count that tells whether it did anything."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the replicated state knows it. Times are wall-clock milliseconds that a leader stamped."""

    id: RunId
    status: RunStatus
    node: str
    """The node that runs it; ANY_NODE while it is offered."""
    incarnation: int = 0
    """The start of the peer that it was granted to; 0 before."""
    targets: tuple[str, ...] = ()
    """What it is done to, as the node resolved it, e.g. `proxy:payments`."""
    planned_ms: int = 0
    asked_ms: int = 0
    """When a node last asked for it and was refused for a limit; 0 if never."""
    granted_ms: int = 0
    active_ms: int = 0
    ended_ms: int = 0
    duration_seconds: float = 0.0
    """How long it is to be active: the step's duration, or what a pause left of it."""
    reason: str = ""
    """Why it waits, was interrupted, failed or was skipped."""
    effects: tuple[Effect, ...] = ()
    """One per fault of its step, in that order; empty until it ended."""

    @property
    def live(self) -> bool:
        """Whether its fault may be on, or may come on."""
        return self.status in LIVE

    @property
    def counts(self) -> bool:
        """Whether it counts for limits, targets and sequential: live, or not recovered."""
        return self.status in LIVE or self.status is RunStatus.RECOVERY_FAILED

    @property
    def ended(self) -> bool:
        """Whether nothing but its effect can change any more."""
        return self.status in ENDED

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for msgpack and JSON."""
        return {
            "id": str(self.id),
            "status": str(self.status),
            "node": self.node,
            "incarnation": self.incarnation,
            "targets": list(self.targets),
            "plannedMs": self.planned_ms,
            "askedMs": self.asked_ms,
            "grantedMs": self.granted_ms,
            "activeMs": self.active_ms,
            "endedMs": self.ended_ms,
            "durationSeconds": self.duration_seconds,
            "reason": self.reason,
            "effects": [dict(effect) for effect in self.effects],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Run:
        """The reverse of `to_dict`."""
        return cls(
            id=RunId.parse(data["id"]),
            status=RunStatus(data["status"]),
            node=data["node"],
            incarnation=data["incarnation"],
            targets=tuple(data["targets"]),
            planned_ms=data["plannedMs"],
            asked_ms=data["askedMs"],
            granted_ms=data["grantedMs"],
            active_ms=data["activeMs"],
            ended_ms=data["endedMs"],
            duration_seconds=data["durationSeconds"],
            reason=data["reason"],
            effects=tuple(dict(effect) for effect in data["effects"]),
        )

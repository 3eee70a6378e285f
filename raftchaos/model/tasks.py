"""A task: one accepted execution of an orchestration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from raftchaos.model.resolved import ResolvedOrchestration


class TaskStatus(StrEnum):
    """Where a task is. The words are those of the API and of the metrics."""

    AWAITING_APPROVAL = "awaitingApproval"
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    RECOVERING = "recovering"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    CANCELLED = "cancelled"
    HALTED = "halted"
    RECOVERY_FAILED = "recoveryFailed"


FINAL = frozenset(
    {
        TaskStatus.COMPLETED,
        TaskStatus.FAILED,
        TaskStatus.ABORTED,
        TaskStatus.CANCELLED,
        TaskStatus.HALTED,
        TaskStatus.RECOVERY_FAILED,
    }
)


class Verdict(StrEnum):
    """What a finished task says about the service."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


EXIT_CODES = {Verdict.PASSED: 0, Verdict.FAILED: 1, Verdict.INCONCLUSIVE: 4}


def exit_code(status: TaskStatus, verdict: Verdict | None) -> int:
    """The exit code of a command that waited for a task (DESIGN: "A run, exactly").

    0 passed, 1 failed or aborted, 4 no verdict (inconclusive, cancelled, halted), 6 something was not recovered.
    """
    if status is TaskStatus.RECOVERY_FAILED:
        return 6
    if status in (TaskStatus.CANCELLED, TaskStatus.HALTED) or verdict is None:
        return 4
    return EXIT_CODES[verdict]


@dataclass(frozen=True, slots=True)
class Task:
    """A task that has not ended. Times are wall-clock milliseconds that a leader stamped."""

    id: str
    orchestration: ResolvedOrchestration
    targets: tuple[str, ...]
    """The nodes that it may touch, in name order, fixed at submit."""
    max_nodes: int
    """At most this many nodes may be under faults of any task while this one runs."""
    submitted_ms: int
    deadline_ms: int
    status: TaskStatus = TaskStatus.PENDING
    final: TaskStatus | None = None
    """What it ends as; set while it recovers."""
    reason: str = ""
    started_ms: int = 0
    paused_ms: int = 0
    reserved: int = 0
    """Bytes that it and its runs may take in a snapshot at most."""

    @property
    def unfinished(self) -> bool:
        """Whether it can still change."""
        return self.status not in FINAL

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for msgpack and JSON."""
        return {
            "id": self.id,
            "orchestration": self.orchestration.to_dict(),
            "targets": list(self.targets),
            "maxNodes": self.max_nodes,
            "submittedMs": self.submitted_ms,
            "deadlineMs": self.deadline_ms,
            "status": str(self.status),
            "final": None if self.final is None else str(self.final),
            "reason": self.reason,
            "startedMs": self.started_ms,
            "pausedMs": self.paused_ms,
            "reserved": self.reserved,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Task:
        """The reverse of `to_dict`."""
        return cls(
            id=data["id"],
            orchestration=ResolvedOrchestration.from_dict(data["orchestration"]),
            targets=tuple(data["targets"]),
            max_nodes=data["maxNodes"],
            submitted_ms=data["submittedMs"],
            deadline_ms=data["deadlineMs"],
            status=TaskStatus(data["status"]),
            final=None if data["final"] is None else TaskStatus(data["final"]),
            reason=data["reason"],
            started_ms=data["startedMs"],
            paused_ms=data["pausedMs"],
            reserved=data["reserved"],
        )

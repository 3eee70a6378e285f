"""What happened, as every peer tells it: derived from the applied commands, so that all peers tell the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class EventType(StrEnum):
    """The kinds of event. Also the values of the metric label `type`."""

    LEADER_CHANGED = "leaderChanged"
    NODE_REGISTERED = "nodeRegistered"
    NODE_STATUS = "nodeStatus"
    NODE_REMOVED = "nodeRemoved"
    TASK_SUBMITTED = "taskSubmitted"
    TASK_STATUS = "taskStatus"
    RUN_STATUS = "runStatus"
    HALTED = "halted"
    RESUMED = "resumed"
    TOKEN_CREATED = "tokenCreated"
    TOKEN_REVOKED = "tokenRevoked"
    AUTHORITY_CHANGED = "authorityChanged"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `index` is the Raft index of the command that caused it, `number` its place among those of the index.

    The pair is the same on every peer, so a stream can be continued from another one.
    """

    index: int
    number: int
    type: EventType
    wall_ms: int
    task: str = ""
    run: str = ""
    node: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "id": f"{self.index}-{self.number}",
            "type": str(self.type),
            "wallMs": self.wall_ms,
            "task": self.task,
            "run": self.run,
            "node": self.node,
            "data": dict(self.data),
        }

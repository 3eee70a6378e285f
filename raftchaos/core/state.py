"""The replicated state: frozen dataclasses over plain dicts that are copied on write.

Publishing a state is one reference; readers need no lock and may keep it as long as they like. Nobody mutates a dict
of a state that was published.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from raftchaos.core.access import Access
from raftchaos.model.nodes import Node
from raftchaos.model.runs import Run, RunId
from raftchaos.model.tasks import Task


@dataclass(frozen=True, slots=True)
class HaltRecord:
    """A halt that is in force."""

    id: str
    reason: str
    origin: str
    wall_ms: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for msgpack and JSON."""
        return {"id": self.id, "reason": self.reason, "origin": self.origin, "wallMs": self.wall_ms}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> HaltRecord:
        """The reverse of `to_dict`."""
        return cls(data["id"], data["reason"], data["origin"], data["wallMs"])


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Everything that the peers agree on."""

    nodes: dict[str, Node] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    """Tasks that have not ended."""
    runs: dict[RunId, Run] = field(default_factory=dict)
    """Runs of tasks that have not ended."""
    finished: dict[str, bytes] = field(default_factory=dict)
    """Ended tasks, oldest first, each as the msgpack bytes of `core.history.summarize`."""
    forgotten: dict[bytes, None] = field(default_factory=dict)
    """Hashes of the ids of tasks that left the history, oldest first."""
    unrecovered: dict[RunId, Run] = field(default_factory=dict)
    """Runs whose fault could not be taken back, of ended tasks too: they go on counting for limits, targets and
    sequential until their node reports it as recovered, registers a new incarnation or is removed."""
    halts: dict[str, HaltRecord] = field(default_factory=dict)
    lifted: dict[str, None] = field(default_factory=dict)
    """Ids of halts that were lifted, oldest first, bounded."""
    term: int = 0
    """Of the newest leader that announced itself."""
    leader: str = ""
    leader_ms: int = 0
    """When that leader announced itself, by its own wall clock; other times may be of an earlier leader's clock."""
    completed: dict[str, int] = field(default_factory=dict)
    """How many tasks ended, by "<verdict or status>/<mode>"; for the metrics."""
    access: Access = field(default_factory=Access)
    """Who may call and join, and which certificates count."""

    @property
    def halted(self) -> bool:
        """Whether nothing may start."""
        return bool(self.halts)

    def with_(self, **changes: Any) -> ClusterState:
        """A copy with these fields replaced."""
        return dataclasses.replace(self, **changes)

    def runs_of(self, task: str) -> list[Run]:
        """The runs of a task, sorted by id."""
        return [self.runs[key] for key in sorted(self.runs) if key.task == task]

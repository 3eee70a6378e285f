"""What was asked and answered, and what was seen from outside: plain data that the checkers read."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OK, FAIL, UNKNOWN = "ok", "fail", "unknown"
"""How an operation ended: it happened, it certainly did not, nobody can tell."""
FINAL = ("completed", "failed", "aborted", "cancelled", "halted", "recoveryFailed")
ABSENT = "absent"
"""The status of a task that does not exist."""


def now() -> float:
    """Seconds of the one clock that all times in a history are of."""
    return time.monotonic()


@dataclass(slots=True)
class Operation:
    """One request of one client."""

    client: str
    peer: str
    kind: str
    """`submit`, `cancel`, `read` (as the peer has it), `strong` (a read with consistency=strong)."""
    task: str
    invoked: float
    completed: float = 0.0
    outcome: str = UNKNOWN
    index: int = 0
    """The index that the answer shows; 0 if it shows none."""
    least: int = 0
    """The index that the client had seen and asked for, of a `read`."""
    stale: bool = False
    status: str = ""
    """Of the task, in the answer."""
    problem: str = ""


@dataclass(slots=True)
class Sample:
    """One request through a proxy."""

    node: str
    proxy: str
    start: float
    end: float
    result: str
    """`ok`, `fault TASK`, or what went wrong."""

    @property
    def task(self) -> str:
        """The task whose fault answered; empty if none did."""
        return self.result.partition(" ")[2] if self.result.startswith("fault ") else ""


@dataclass(slots=True)
class Sighting:
    """One look at the status of a peer."""

    peer: str
    at: float
    index: int
    state_hash: str
    role: str
    term: int


@dataclass(slots=True)
class Span:
    """A time in which a node was in some way; both ends are inside of it."""

    node: str
    begin: float
    end: float
    what: str


@dataclass(slots=True)
class HaltOrder:
    """One halt, from the order to its lifting."""

    id: str
    peer: str
    invoked: float
    answered: float = 0.0
    logged: bool = False
    """The answer said that it is in the log."""
    resumed: float = 0.0
    """When somebody first asked to lift it."""


@dataclass(slots=True)
class History:
    """Everything of one test. Threads append to the lists."""

    operations: list[Operation] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    halts: list[HaltOrder] = field(default_factory=list)
    cut: list[Span] = field(default_factory=list)
    """When a node certainly had no quorum, or its main could do nothing."""
    sequential: set[str] = field(default_factory=set)
    """The tasks whose mode is sequential."""
    injections: dict[str, int] = field(default_factory=dict)
    """How often each run was injected, over all nodes and their starts."""

    def save(self, path: Path) -> None:
        """Write it down, one line for each thing."""
        with path.open("w") as file:
            for kind in dataclasses.fields(self):
                for item in _items(getattr(self, kind.name)):
                    file.write(json.dumps({"what": kind.name, **item}) + "\n")


def _items(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [{"run": key, "count": count} for key, count in sorted(value.items())]
    if isinstance(value, set):
        return [{"task": key} for key in sorted(value)]
    return [dataclasses.asdict(item) for item in value]

"""What every fault is: inject and recover for one target. Loops, leases and retries live elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from raftchaos.faults.records import Step


@dataclass(frozen=True, slots=True)
class NodeContext:
    """What a fault may know of the node when it resolves its targets."""

    name: str
    proxies: tuple[str, ...]
    """Names of the node's proxies, sorted."""


class Fault(Protocol):
    """One type of fault. `key` names one use of it: one fault of one run on one target."""

    @property
    def type(self) -> str:
        """Its name in documents."""
        ...

    @property
    def kind(self) -> str:
        """`continuous` (has an undo, lives on a lease) or `oneShot` (neither)."""
        ...

    @property
    def recovery_seconds(self) -> float:
        """How long `recover` takes at most; with `limits.LATENESS` it fits into `limits.REVERT`."""
        ...

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The targets on this node, sorted, as `<what>:<name>`. Raises `NotFound` for one that is not here and
        `UsageError` for parameters that it does not take."""
        ...

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """What undoes it, as idempotent steps that `faults.undo_plan` knows, in the order of the injection."""
        ...

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Do it to one target; returns once it is on. Raises `RaftchaosError` if it cannot; it may be on then."""
        ...

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Take it back from one target; returns what it did. Idempotent; raises `RaftchaosError` if it is still on.
        A target that is gone is a success."""
        ...

    async def forget(self, key: str, target: str) -> None:
        """Nobody will ask for its effect any more."""
        ...

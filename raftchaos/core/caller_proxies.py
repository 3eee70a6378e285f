"""What the toxiproxy API needs of its peer: the node's proxies, and faults on them that are the caller's own.

Such a fault belongs to no task and no run of the cluster. It stands in the undo journal and ends with this start of the
peer's main, with a halt, or when it is taken off. Called from the loop's thread, one change at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple, Protocol

from raftchaos.core.service_records import ProxyRecord


class WantedFault(NamedTuple):
    """A fault of the catalogue, without the proxy that it is done to."""

    type: str
    parameters: Mapping[str, Any]


class CallerProxies(Protocol):
    """Raises `RaftchaosError` with the reason when something cannot be done; then it was not done."""

    async def proxies(self) -> Sequence[ProxyRecord]:
        """The proxies of the node by name."""
        ...

    async def add(self, name: str, listen: str, upstream: str) -> ProxyRecord:
        """Start a proxy and keep it. Raises `Conflict` for a name that is there with other values."""
        ...

    async def change(self, name: str, listen: str, upstream: str) -> ProxyRecord:
        """Let a proxy listen or relay elsewhere: its connections are closed, what was put on it stays. With the
        addresses that it has nothing is done. Raises `NotFound`, and `Refused` while a run of a task is done to it."""
        ...

    async def remove(self, name: str) -> None:
        """Stop a proxy, take off what was put on it, and forget it. Raises `NotFound`, and `Refused` while a run of a
        task is done to it."""
        ...

    def standing(self) -> Set[str]:
        """The keys of what is on. Things go without being asked: with a halt, or when main stood still for too long."""
        ...

    async def put(self, label: str, proxy: str, faults: Sequence[WantedFault], *, instead_of: str = "") -> str:
        """Put faults on a proxy; the key of them. They take the place of `instead_of` if one is given. `label` is
        written into the key. Raises `Halted` during a halt."""
        ...

    async def take_off(self, key: str) -> None:
        """End what was put on. Idempotent."""
        ...

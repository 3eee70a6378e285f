"""What faults that touch whole connections have in common."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from raftchaos.proxy.toxic import Client, Fault, Toxic

F = TypeVar("F", bound=Fault)


class ConnectionToxic(Toxic, Generic[F]):
    """A fault on one connection."""

    __slots__ = ("fault", "position")

    def __init__(self, fault: F, position: int) -> None:
        super().__init__()
        self.fault = fault
        self.position = position
        """Of the connection since the fault began."""


class ConnectionFault(Fault):
    """A fault that decides about each connection once; `probability` is the part of them that are touched."""

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        return self.touch(position, client, now) if self.picks_connection(position, client) else None

    def touch(self, position: int, client: Client, now: float) -> ConnectionToxic[Any] | None:
        """The toxic of a connection that was picked; every subclass says which."""
        raise NotImplementedError

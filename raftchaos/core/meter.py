"""What the parts of a peer count, behind one small interface."""

from __future__ import annotations

from typing import Protocol


class Meter(Protocol):
    """What the parts of a peer count. `telemetry` implements it; nothing else knows a metrics library.

    Cheap, callable from the loop's thread at any time, never raises. Values of labels that are unknown count as
    `other`, so that nobody can make the number of series grow.
    """

    def heartbeat(self, node: str) -> None:
        """This peer, as the leader, has answered a ping of that node."""
        ...

    def step_failed(self) -> None:
        """A step of a task has failed, as this peer saw it being applied."""
        ...

    def fault_injected(self, fault: str) -> None:
        """A fault of that type was put on here: the first application after a grant."""
        ...

    def fault_effect(self, fault: str, touched: int) -> None:
        """An ended fault of that type has touched so many requests, connections, packets or processes here."""
        ...

    def recover_failed(self, fault: str) -> None:
        """A try to take back a fault of that type has failed here; it is tried again."""
        ...

    def committed(self, seconds: float) -> None:
        """A proposal of this peer took so long until it was applied here."""
        ...

    def event(self, event_type: str) -> None:
        """An event of that type (`model.events.EventType`) was applied while this peer ran, replays apart."""
        ...

    def loop_late(self, seconds: float) -> None:
        """The event loop ran a timer so much later than it was due."""
        ...


class NullMeter:
    """A meter that counts nothing."""

    def heartbeat(self, node: str) -> None:
        """Counts nothing."""

    def step_failed(self) -> None:
        """Counts nothing."""

    def fault_injected(self, fault: str) -> None:
        """Counts nothing."""

    def fault_effect(self, fault: str, touched: int) -> None:
        """Counts nothing."""

    def recover_failed(self, fault: str) -> None:
        """Counts nothing."""

    def committed(self, seconds: float) -> None:
        """Counts nothing."""

    def event(self, event_type: str) -> None:
        """Counts nothing."""

    def loop_late(self, seconds: float) -> None:
        """Counts nothing."""

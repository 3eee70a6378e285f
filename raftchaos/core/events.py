"""The last events, for those who want to know what happened: streams, metrics, the agent's log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from raftchaos import limits
from raftchaos.model.events import Event

Subscriber = Callable[[Event], None]


class EventLog:
    """Keeps the last `limits.EVENTS_KEPT` events and passes each new one on. Not part of the replicated state."""

    def __init__(self, kept: int = limits.EVENTS_KEPT) -> None:
        self._events: deque[Event] = deque(maxlen=kept)
        self._subscribers: list[Subscriber] = []
        self._floor = (0, 0)

    @property
    def floor(self) -> tuple[int, int]:
        """Index and number of the last event that is no longer kept; (0, 0) if none is missing."""
        return self._floor

    @property
    def last(self) -> tuple[int, int]:
        """Index and number of the newest event; the floor if there is none."""
        return (self._events[-1].index, self._events[-1].number) if self._events else self._floor

    def after(self, index: int, number: int) -> list[Event]:
        """The kept events that came after this place, oldest first. If the place is below `floor`, some are missing."""
        found: list[Event] = []
        for event in reversed(self._events):
            if (event.index, event.number) <= (index, number):
                break
            found.append(event)
        found.reverse()
        return found

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with each new event, on the thread that applies; it must return at once and not raise.

        Returns what ends the subscription.
        """
        self._subscribers.append(subscriber)

        def cancel() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return cancel

    def add(self, events: Iterable[Event]) -> list[str]:
        """Keep new events and pass them on. A subscriber that raises is ended; returns what they raised."""
        raised: list[str] = []
        for event in events:
            if len(self._events) == self._events.maxlen:
                self._floor = (self._events[0].index, self._events[0].number)
            self._events.append(event)
            for subscriber in tuple(self._subscribers):
                try:
                    subscriber(event)
                except Exception as error:  # noqa: BLE001 - what listens must never stop what is agreed on
                    self._subscribers.remove(subscriber)
                    raised.append(f"{subscriber!r} raised {type(error).__name__}: {error}")
        return raised

    def restart(self, index: int) -> None:
        """Forget everything: a snapshot up to `index` was restored, and what led to it is not known."""
        self._events.clear()
        self._floor = (index, 2**31 - 1)

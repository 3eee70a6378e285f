"""The newest events of a peer, for any number of readers at their own pace."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence

from raftchaos import limits
from raftchaos.core.services import LAST_NUMBER, EventId, Gap
from raftchaos.model.events import Event


class EventFeed:
    """Keeps the last `kept` events. All readers share them, so a slow reader costs nothing: it gets a gap.

    Used from the loop's thread only.
    """

    def __init__(self, kept: int = limits.EVENTS_KEPT) -> None:
        self._kept = kept
        self._events: list[Event] = []
        self._floor = EventId(0, 0)  # every event after this place is in the list
        self._newest = EventId(0, 0)
        self._changed = asyncio.Event()
        self._closed = False

    def publish(self, events: Sequence[Event]) -> None:
        """Takes new events, in the order of their places. What is not after the newest one is known and ignored."""
        for event in events:
            place = _place(event)
            if place > self._newest:
                self._events.append(event)
                self._newest = place
        if len(self._events) > 2 * self._kept:  # in one go, so that publishing stays cheap
            surplus = len(self._events) - self._kept
            self._floor = _place(self._events[surplus - 1])
            del self._events[:surplus]
        self._wake()

    def reset(self, index: int) -> None:
        """The state was replaced by a snapshot of that index: nobody here knows what happened before it."""
        self._events.clear()
        self._floor = EventId(index, LAST_NUMBER)
        self._newest = max(self._newest, self._floor)
        self._wake()

    def close(self) -> None:
        """Ends all streams."""
        self._closed = True
        self._wake()

    async def stream(self, after: EventId | None) -> AsyncGenerator[Event | Gap, None]:
        """The events after that place (None: from now on), and a `Gap` wherever some are missing, until `close`.

        A place that this peer has not reached yet is fine: the stream begins there.
        """
        place = self._newest if after is None else after
        while not self._closed:
            changed = self._changed
            if place < self._floor:
                yield Gap(place, self._floor)
                place = self._floor
                continue
            batch = self._after(place, 64)
            for event in batch:
                if place < self._floor:
                    break  # the reader was slow and the rest of the batch is history: tell the gap
                yield event
                place = _place(event)
            if not batch:
                await changed.wait()

    def _after(self, place: EventId, count: int) -> list[Event]:
        start = bisect_right(self._events, place, key=_place)
        return self._events[start : start + count]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _place(event: Event) -> EventId:
    return EventId(event.index, event.number)

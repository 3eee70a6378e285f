"""The events of a peer, for any number of readers at their own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from raftchaos.core.events import EventLog
from raftchaos.core.service_records import EventId, Gap
from raftchaos.model.events import Event


class EventFeed:
    """Streams of the events that `log` keeps. All readers share them, so a slow reader costs nothing: it gets a gap.

    Used from the loop's thread only.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._changed = asyncio.Event()
        self._closed = False
        self._unsubscribe = log.subscribe(self._wake)

    def close(self) -> None:
        """Ends all streams."""
        self._closed = True
        self._unsubscribe()
        self._wake()

    async def stream(self, after: EventId | None) -> AsyncGenerator[Event | Gap, None]:
        """The events after that place (None: from now on), and a `Gap` wherever some are missing, until `close`.

        A place that this peer has not reached yet is fine: the stream begins there.
        """
        place = EventId(*self._log.last) if after is None else after
        while not self._closed:
            changed = self._changed
            floor = EventId(*self._log.floor)
            if place < floor:
                yield Gap(place, floor)
                place = floor
            for event in self._log.after(place.index, place.number):
                yield event
                place = EventId(event.index, event.number)
                if self._closed or place < EventId(*self._log.floor):
                    break  # the reader was slow and what follows is history: tell the gap
            else:
                if changed is self._changed:
                    await changed.wait()

    def _wake(self, event: Event | None = None) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

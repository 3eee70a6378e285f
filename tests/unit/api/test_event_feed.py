"""The feed: every reader gets every event once, in order, or is told where some are missing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from raftchaos.api.feed import EventFeed
from raftchaos.core.services import LAST_NUMBER, EventId, Gap
from raftchaos.errors import UsageError
from raftchaos.model.events import Event, EventType


def event(index: int, number: int = 0) -> Event:
    return Event(index, number, EventType.TASK_STATUS, 0)


async def take(feed: EventFeed, after: EventId | None, count: int) -> list[Event | Gap]:
    found: list[Event | Gap] = []
    async with asyncio.timeout(5), aclosing(feed.stream(after)) as stream:
        async for one in stream:
            found.append(one)
            if len(found) == count:
                break
    return found


async def test_a_reader_goes_on_after_its_place() -> None:
    feed = EventFeed()
    feed.publish([event(1), event(2, 0), event(2, 1), event(3)])
    assert await take(feed, EventId(2, 0), 2) == [event(2, 1), event(3)]
    assert await take(feed, EventId.parse("2"), 1) == [event(3)]


async def test_without_a_place_it_begins_now() -> None:
    feed = EventFeed()
    feed.publish([event(1)])
    async with aclosing(feed.stream(None)) as stream:
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        feed.publish([event(2)])
        assert await asyncio.wait_for(following, 5) == event(2)


async def test_a_place_ahead_of_this_peer_waits_for_it() -> None:
    feed = EventFeed()
    feed.publish([event(1)])
    async with aclosing(feed.stream(EventId(2, LAST_NUMBER))) as stream:
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        feed.publish([event(2)])
        await asyncio.sleep(0)
        assert not following.done()
        feed.publish([event(3)])
        assert await asyncio.wait_for(following, 5) == event(3)


async def test_events_that_come_twice_are_told_once() -> None:
    feed = EventFeed()
    feed.publish([event(1), event(2)])
    feed.publish([event(1), event(2), event(3)])
    assert await take(feed, EventId(0, 0), 3) == [event(1), event(2), event(3)]


async def test_a_slow_reader_gets_a_gap_and_the_feed_does_not_grow() -> None:
    feed = EventFeed(kept=10)
    async with aclosing(feed.stream(EventId(0, 0))) as stream:
        feed.publish([event(1)])
        assert await anext(stream) == event(1)
        for index in range(2, 100):
            feed.publish([event(index)])
        gap = await anext(stream)
        assert isinstance(gap, Gap)
        assert gap.after == EventId(1, 0)
        first = await anext(stream)
        assert isinstance(first, Event)
        assert first.index == gap.before.index + 1
        rest = [await anext(stream) for _ in range(99 - first.index)]
        assert rest[-1] == event(99)
    assert len(feed._events) <= 20


async def test_a_snapshot_is_a_gap_for_those_who_are_behind_it() -> None:
    feed = EventFeed()
    feed.publish([event(1)])
    feed.reset(50)
    feed.publish([event(51)])
    assert await take(feed, EventId(1, 0), 2) == [Gap(EventId(1, 0), EventId(50, LAST_NUMBER)), event(51)]
    assert await take(feed, EventId(50, LAST_NUMBER), 1) == [event(51)]


async def test_closing_ends_every_stream() -> None:
    feed = EventFeed()
    streams = [feed.stream(None) for _ in range(3)]
    waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.sleep(0)
    feed.close()
    ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert all(isinstance(one, StopAsyncIteration) for one in ended)


@pytest.mark.parametrize("text", ["", "-", "1-", "-1", "a", "1-b", "1-2-3", "²", "9" * 30, "1 2"])
def test_what_is_no_event_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        EventId.parse(text)


def test_event_ids_are_read_back() -> None:
    assert EventId.parse(str(EventId(12, 3))) == EventId(12, 3)
    assert EventId.parse("12") > EventId(12, 10**6)

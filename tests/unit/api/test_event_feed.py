"""The feed: every reader gets every event once, in order, or is told where some are missing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from raftchaos.api.feed import EventFeed
from raftchaos.core.events import EventLog
from raftchaos.core.service_records import LAST_NUMBER, EventId, Gap
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


@pytest.fixture
def log() -> EventLog:
    return EventLog(kept=10)


@pytest.fixture
async def feed(log: EventLog) -> EventFeed:
    return EventFeed(log)


async def test_a_reader_goes_on_after_its_place(log: EventLog, feed: EventFeed) -> None:
    log.add([event(1), event(2, 0), event(2, 1), event(3)])
    assert await take(feed, EventId(2, 0), 2) == [event(2, 1), event(3)]
    assert await take(feed, EventId.parse("2"), 1) == [event(3)]


async def test_without_a_place_it_begins_now(log: EventLog, feed: EventFeed) -> None:
    log.add([event(1)])
    async with aclosing(feed.stream(None)) as stream:
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        log.add([event(2)])
        assert await asyncio.wait_for(following, 5) == event(2)


async def test_a_place_ahead_of_this_peer_waits_for_it(log: EventLog, feed: EventFeed) -> None:
    log.add([event(1)])
    async with aclosing(feed.stream(EventId(2, LAST_NUMBER))) as stream:
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        log.add([event(2)])
        await asyncio.sleep(0)
        assert not following.done()
        log.add([event(3)])
        assert await asyncio.wait_for(following, 5) == event(3)


async def test_a_slow_reader_gets_a_gap(log: EventLog, feed: EventFeed) -> None:
    async with aclosing(feed.stream(EventId(0, 0))) as stream:
        log.add([event(1), event(2)])
        assert await anext(stream) == event(1)
        log.add([event(index) for index in range(3, 100)])
        assert await anext(stream) == Gap(EventId(1, 0), EventId(89, 0))
        assert [await anext(stream) for _ in range(10)] == [event(index) for index in range(90, 100)]


async def test_a_reader_that_was_interrupted_by_new_events_misses_none(log: EventLog, feed: EventFeed) -> None:
    async with aclosing(feed.stream(EventId(0, 0))) as stream:
        log.add([event(1), event(2)])
        assert await anext(stream) == event(1)
        log.add([event(3)])
        assert [await anext(stream), await anext(stream)] == [event(2), event(3)]
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        log.add([event(4)])
        assert await asyncio.wait_for(following, 5) == event(4)


async def test_a_snapshot_is_a_gap_for_those_who_are_behind_it(log: EventLog, feed: EventFeed) -> None:
    log.add([event(1)])
    log.restart(50)
    log.add([event(51)])
    assert await take(feed, EventId(1, 0), 2) == [Gap(EventId(1, 0), EventId(50, LAST_NUMBER)), event(51)]
    assert await take(feed, EventId(50, LAST_NUMBER), 1) == [event(51)]


async def test_closing_ends_every_stream(log: EventLog, feed: EventFeed) -> None:
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

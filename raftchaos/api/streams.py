"""Events as they happen, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from aiohttp import web

from raftchaos import limits
from raftchaos.api.callers import is_good
from raftchaos.api.context import Context
from raftchaos.core.callers import CALLER
from raftchaos.core.service_records import LAST_NUMBER, EventId, Gap
from raftchaos.errors import Busy
from raftchaos.model.event_stream import Message, encode, heartbeat
from raftchaos.model.events import Event

LOOK_AROUND = 1.0  # how often a silent stream looks whether its reader is still there


async def events(context: Context, request: web.Request) -> web.StreamResponse:
    """The events after `Last-Event-ID` (or `?after=`), from now on without one; `?task=` shows those of one task.

    Ends when the reader is gone, takes nothing for `limits.EVENT_STREAM_WRITE` seconds, its token is good no more, or
    the server stops.
    """
    text = request.headers.get("Last-Event-ID") or request.query.get("after")
    after = EventId.parse(text) if text else EventId(context.services.applied_index, LAST_NUMBER)
    if context.streams >= limits.EVENT_STREAMS:
        raise Busy(
            f"found {context.streams} open event streams on this peer, which is as many as it serves",
            hint="close one, or ask another peer",
        )
    context.streams += 1
    try:
        return await _serve(context, request, after)
    finally:
        context.streams -= 1


async def _serve(context: Context, request: web.Request, after: EventId) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    async with aclosing(context.services.events(after)) as source:
        try:
            await response.prepare(request)
            await _write(response, heartbeat(str(after)))  # at once: the stream stands, and where it begins
            async with aclosing(_paced(context, request, source, after)) as pieces:
                async for piece in pieces:
                    await _write(response, piece)
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            response.force_close()  # the reader is gone or too slow; it goes on at its last id, here or elsewhere
            if request.transport is not None:
                request.transport.abort()
    return response


async def _write(response: web.StreamResponse, piece: bytes) -> None:
    async with asyncio.timeout(limits.EVENT_STREAM_WRITE):
        await response.write(piece)


async def _paced(
    context: Context, request: web.Request, source: AsyncGenerator[Event | Gap, None], place: EventId
) -> AsyncGenerator[bytes, None]:
    """What is to be written: events of the wanted task, gaps, and a heartbeat whenever it was silent for long."""
    task, caller = request.query.get("task"), CALLER.get()
    loop = asyncio.get_running_loop()
    written = loop.time()  # when something was last written
    closing = asyncio.ensure_future(context.closing.wait())
    following: asyncio.Future[Event | Gap] | None = None
    try:
        while request.transport is not None and not request.transport.is_closing():
            if following is None:
                following = asyncio.ensure_future(anext(source))
            waiting: set[asyncio.Future[Any]] = {following, closing}
            await asyncio.wait(waiting, timeout=LOOK_AROUND, return_when=asyncio.FIRST_COMPLETED)
            if closing.done() or not (caller is None or is_good(caller, context.services.state, context.clock)):
                return
            if following.done():
                try:
                    found = following.result()
                except StopAsyncIteration:
                    return
                following = None
                place = found.before if isinstance(found, Gap) else EventId(found.index, found.number)
                if isinstance(found, Gap) or task is None or found.task == task:
                    yield encode(_message(found))
                    written = loop.time()
            elif loop.time() - written >= limits.EVENT_HEARTBEAT:
                yield heartbeat(str(place))
                written = loop.time()
    finally:
        pending = [future for future in (following, closing) if future is not None]
        for future in pending:
            future.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def _message(found: Event | Gap) -> Message:
    if isinstance(found, Gap):
        data = {"type": "gap", "after": str(found.after), "before": str(found.before)}
        return Message("gap", json.dumps(data), str(found.before))
    return Message(
        str(found.type), json.dumps(found.to_dict(), ensure_ascii=False), str(EventId(found.index, found.number))
    )

"""The replicated state as one file."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from raftchaos import limits
from raftchaos.api.context import Context, look
from raftchaos.errors import Busy

PIECE: Final = 256 * 1024


async def backup(context: Context, request: web.Request) -> web.StreamResponse:
    """Sends the state, piece by piece; a reader that takes nothing for `limits.EVENT_STREAM_WRITE` is cut off."""
    await look(context, request)
    if context.backups >= limits.BACKUPS:
        raise Busy(f"found {context.backups} backups that are being sent, which is as many as one peer sends at once")
    context.backups += 1
    try:
        return await _send(request, context.services.backup())
    finally:
        context.backups -= 1


async def _send(request: web.Request, data: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream", "Cache-Control": "no-store"})
    response.content_length = len(data)
    try:
        await response.prepare(request)
        for place in range(0, len(data), PIECE):
            async with asyncio.timeout(limits.EVENT_STREAM_WRITE):
                await response.write(data[place : place + PIECE])
        await response.write_eof()
    except (ConnectionError, TimeoutError):
        response.force_close()
        if request.transport is not None:
            request.transport.abort()
    return response

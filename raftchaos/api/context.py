"""What every handler is given, and how it looks at the state."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

from raftchaos import limits
from raftchaos.api.requests import number_parameter, wants_strong
from raftchaos.api.views import envelope, quorum_view, staleness
from raftchaos.clock import Clock
from raftchaos.core.services import PeerServices, no_quorum_message
from raftchaos.core.state import ClusterState
from raftchaos.errors import NoQuorum, OutcomeUnknown

T = TypeVar("T")

CATCH_UP = 1.0  # how long a read waits for the index that its caller has seen elsewhere
CATCH_UP_STEP = 0.02
GRACE = 0.1  # a write that has not ended by itself this long after its timeout is cut off

NEWEST_INDEX = 2**62


@dataclass(slots=True)
class Context:
    """The peer that is served, and what lives as long as its server."""

    services: PeerServices
    clock: Clock
    streams: int = 0
    """Open event streams."""
    backups: int = 0
    """Backups that are being sent."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server stops: endless answers end."""

    def now_ms(self) -> int:
        """The wall clock in milliseconds."""
        return int(self.clock.wall() * 1000)


@dataclass(frozen=True, slots=True)
class Look:
    """One consistent look at the state."""

    state: ClusterState
    index: int
    envelope: dict[str, Any]
    """What the answer says about itself."""


async def look(context: Context, request: web.Request) -> Look:
    """The state that this request is to show.

    `?consistency=strong` waits for everything that was committed before (NoQuorum without a majority);
    `?atLeast=INDEX` waits a second at most for an index that the caller has seen at another peer.
    """
    services = context.services
    if wants_strong(request):
        await services.read_barrier(timeout=limits.WRITE_TIMEOUT)
        return Look(services.state, services.applied_index, envelope(services.applied_index, ""))
    least = number_parameter(request, "atLeast", 0, least=0, most=NEWEST_INDEX)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CATCH_UP
    while services.applied_index < least and loop.time() < deadline:  # noqa: ASYNC110 - rare, short and bounded
        await asyncio.sleep(CATCH_UP_STEP)
    reason = staleness(services.status())
    if services.applied_index < least:
        reason = reason or f"this peer is at index {services.applied_index}, the caller has seen {least}"
    return Look(services.state, services.applied_index, envelope(services.applied_index, reason))


async def written(context: Context, write: Awaitable[T], *, timeout: float = limits.WRITE_TIMEOUT) -> T:
    """The result of a write. A missing quorum is told with who is missing; nothing waits longer than it may."""
    try:
        async with asyncio.timeout(timeout + GRACE):
            return await write
    except NoQuorum as error:
        status = context.services.status()
        details = {**error.details, "quorum": quorum_view(status.quorum), "leader": status.leader or ""}
        raise NoQuorum(no_quorum_message(status), details=details) from error
    except TimeoutError:
        raise OutcomeUnknown(f"found no result after {timeout:g} seconds; the write may still be committed") from None


def answer(data: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8", headers=headers)

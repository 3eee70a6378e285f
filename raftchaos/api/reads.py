"""The handlers that only look."""

from __future__ import annotations

from aiohttp import web

from raftchaos import limits
from raftchaos.api.context import Context, answer, look
from raftchaos.api.requests import number_parameter
from raftchaos.api.tasks_view import find_task, page_of_tasks
from raftchaos.api.views import (
    envelope,
    fault_type_view,
    health_view,
    node_view,
    nodes_view,
    proxy_view,
    seen_fault_view,
    staleness,
    status_view,
)
from raftchaos.core.callers import CALLER
from raftchaos.core.service_records import Health
from raftchaos.errors import NotFound
from raftchaos.model.faults import FAULTS

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def status(context: Context, request: web.Request) -> web.StreamResponse:
    """Leader, term, quorum, nodes, halts and the faults of this peer."""
    seen = await look(context, request)
    return answer({**seen.envelope, **status_view(context.services)})


async def nodes(context: Context, request: web.Request) -> web.StreamResponse:
    """All nodes by name."""
    seen = await look(context, request)
    found = nodes_view(context.services, seen.state)
    return answer({**seen.envelope, "nodes": found})


async def node(context: Context, request: web.Request) -> web.StreamResponse:
    """One node with its live runs."""
    seen = await look(context, request)
    name = request.match_info["name"]
    if name not in seen.state.nodes:
        raise no_node(name)
    return answer({**seen.envelope, **node_view(context.services, seen.state, seen.state.nodes[name])})


async def tasks(context: Context, request: web.Request) -> web.StreamResponse:
    """A page of tasks: unfinished ones first, then those that have ended, the newest first."""
    seen = await look(context, request)
    limit = number_parameter(request, "limit", limits.PAGE_DEFAULT, least=1, most=limits.PAGE)
    found, following = page_of_tasks(seen.state, limit, request.query.get("after", ""), context.now_ms())
    return answer({**seen.envelope, "tasks": found, "next": following})


async def task(context: Context, request: web.Request) -> web.StreamResponse:
    """One task with its steps and their runs."""
    seen = await look(context, request)
    return answer({**seen.envelope, **find_task(seen.state, request.match_info["id"], context.now_ms())})


async def proxies(context: Context, request: web.Request) -> web.StreamResponse:
    """The proxies of this node with their counters."""
    name = context.services.name
    found = [proxy_view(name, proxy) for proxy in await context.services.proxies()]
    return answer({**_here(context), "node": name, "proxies": found})


async def faults(context: Context, request: web.Request) -> web.StreamResponse:
    """The types of fault that this peer knows, and why its machine cannot do some of them."""
    unable = context.services.unable
    found = [{**fault_type_view(fault), "whyNot": unable.get(fault.type, "")} for fault in FAULTS.values()]
    return answer({**_here(context), "node": context.services.name, "faults": found})


async def active_faults(context: Context, request: web.Request) -> web.StreamResponse:
    """What is on at this peer, as read back from its machine, beside what its undo journal says."""
    found = [seen_fault_view(fault) for fault in await context.services.seen_faults()]
    return answer({**_here(context), "node": context.services.name, "faults": found})


async def metrics(context: Context, request: web.Request) -> web.StreamResponse:
    """The metrics in the Prometheus text format."""
    text = await context.services.metrics_text()
    return web.Response(body=text.encode(), headers={"Content-Type": METRICS_TYPE})


async def healthz(context: Context, request: web.Request) -> web.StreamResponse:
    """200 while the peer works, 503 if only a restart helps."""
    health = context.services.health()
    return answer(_health(context, health), status=200 if health.live else 503)


async def readyz(context: Context, request: web.Request) -> web.StreamResponse:
    """200 while the peer has caught up and sees a leader, 503 otherwise."""
    health = context.services.health()
    return answer(_health(context, health), status=200 if health.live and health.ready else 503)


def _health(context: Context, health: Health) -> dict[str, object]:
    """Who has not said who he is learns no more than the status says."""
    if CALLER.get() is None:
        return {"live": health.live, "ready": health.ready}
    return health_view(health, name=context.services.name)


def no_node(name: str) -> NotFound:
    """The error for a node that nobody knows."""
    return NotFound(f"there is no node {name[: limits.NAME]!r}", hint="`raftchaos node list` shows the nodes")


def _here(context: Context) -> dict[str, object]:
    return envelope(context.services.applied_index, staleness(context.services.status()))

"""The table of routes: what stands here is served, what does not stand here answers nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from raftchaos import limits
from raftchaos.api import access, analytics, backups, openapi, reads, streams, writes
from raftchaos.api.context import Context, answer
from raftchaos.model.roles import GIVEN, Role

PREFIX: Final = "/api/v1"

RouteHandler = Callable[[Context, web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    """From the root; `{name}` in it is a parameter."""
    handler: RouteHandler
    role: Role
    summary: str
    query: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the query, each with its meaning."""
    body: Mapping[str, Any] | None = None
    """JSON schemas of the fields of the body; a name that ends in `!` is required."""
    media: str = "application/json"
    """Media type of the answer."""
    scraped: bool = False
    """Whether callers from allowed networks (`--metrics-allow`) need not say who they are."""


_FRESH: Final = {
    "consistency": "`strong` waits for everything that was committed before the request; 503 without a majority",
    "atLeast": "an index that the caller has seen; waits up to a second for it",
}
_RANGE: Final = {
    "start": "seconds since 1970-01-01 UTC; an hour before the end without it",
    "end": "seconds since 1970-01-01 UTC; now without it",
}
_TEXT: Final = {"type": "string", "maxLength": limits.REASON}
_SECONDS: Final = {"type": "number", "exclusiveMinimum": 0, "maximum": limits.TOKEN_LONGEST}
_NAME: Final = {"type": "string", "maxLength": limits.NAME}
_ADDRESS: Final = {"type": "string", "description": "HOST:PORT"}
_DOCUMENT: Final = {"$ref": "#/components/schemas/ChaosOrchestration"}
_SCENARIOS: Final = {"type": "array", "items": {"$ref": "#/components/schemas/ChaosScenario"}}
_SUBMITTED: Final = {"document!": _DOCUMENT, "scenarios": _SCENARIOS}
_TASK_ID: Final = {"type": "string", "maxLength": limits.TASK_ID, "description": "chosen by the caller, for ever"}


def _api(method: str, path: str, handler: RouteHandler, role: Role, summary: str, **more: Any) -> Route:
    return Route(method, PREFIX + path, handler, role, summary, **more)


async def _openapi(context: Context, request: web.Request) -> web.StreamResponse:
    """This table as an OpenAPI document."""
    return answer(openapi.document(ROUTES))


ROUTES: Final[tuple[Route, ...]] = (
    _api("GET", "/status", reads.status, Role.VIEWER, "The peer and the cluster at a glance", query=_FRESH),
    _api("GET", "/nodes", reads.nodes, Role.VIEWER, "All nodes", query=_FRESH),
    _api("GET", "/nodes/{name}", reads.node, Role.VIEWER, "One node with its live runs", query=_FRESH),
    _api("POST", "/nodes/{name}/drain", writes.drain, Role.OPERATOR, "Give a node no new runs"),
    _api("POST", "/nodes/{name}/undrain", writes.undrain, Role.OPERATOR, "Give a node runs again"),
    _api("POST", "/nodes/{name}/promote", writes.promote, Role.ADMIN, "Let an observer vote"),
    _api("DELETE", "/nodes/{name}", writes.remove_node, Role.ADMIN, "Take a node out of the cluster"),
    _api(
        "GET",
        "/tasks",
        reads.tasks,
        Role.VIEWER,
        "A page of tasks: unfinished ones first, then the newest",
        query={
            "limit": f"at most so many, 1 to {limits.PAGE}",
            "after": "the id of the last task of the page before",
            **_FRESH,
        },
    ),
    _api(
        "POST",
        "/tasks",
        writes.submit,
        Role.OPERATOR,
        "Accept an orchestration as a task; the same id again changes nothing, without one an id is made",
        body={**_SUBMITTED, "id": _TASK_ID},
    ),
    _api(
        "POST",
        "/tasks/preview",
        writes.preview,
        Role.VIEWER,
        "What an orchestration would do now; changes nothing",
        body=_SUBMITTED,
    ),
    _api("GET", "/tasks/{id}", reads.task, Role.VIEWER, "One task with its steps and their runs", query=_FRESH),
    _api(
        "POST",
        "/tasks/{id}/cancel",
        writes.cancel,
        Role.OPERATOR,
        "Recover what is active and end the task",
        body={"reason": _TEXT},
    ),
    _api("POST", "/tasks/{id}/pause", writes.pause, Role.OPERATOR, "Recover what is active and keep the task"),
    _api("POST", "/tasks/{id}/resume", writes.resume_task, Role.OPERATOR, "Take up a paused task"),
    _api(
        "GET",
        "/events",
        streams.events,
        Role.VIEWER,
        "Events as they happen; the header Last-Event-ID goes on after an id, at any peer",
        query={"task": "only the events of this task", "after": "an event id, or an index"},
        media="text/event-stream",
    ),
    _api(
        "POST",
        "/halt",
        writes.halt,
        Role.OPERATOR,
        "Stop everything, with or without a majority",
        body={"reason": _TEXT, "id": _TASK_ID},
    ),
    _api(
        "POST",
        "/resume",
        writes.resume,
        Role.ADMIN,
        "Lift halts; all of them if none is named",
        body={"halts": {"type": "array", "items": {"type": "string"}}},
    ),
    _api("GET", "/proxies", reads.proxies, Role.VIEWER, "The proxies of this node with their counters"),
    _api(
        "POST",
        "/proxies",
        writes.add_proxy,
        Role.ADMIN,
        "Start a proxy on this node",
        body={"name!": _NAME, "listen!": _ADDRESS, "upstream!": _ADDRESS},
    ),
    _api("DELETE", "/proxies/{name}", writes.remove_proxy, Role.ADMIN, "Stop a proxy of this node"),
    _api(
        "GET",
        "/faults/active",
        reads.active_faults,
        Role.VIEWER,
        "What is on here, as read back from the machine",
    ),
    _api("GET", "/faults", reads.faults, Role.VIEWER, "The types of fault with the schemas of their parameters"),
    _api(
        "GET",
        "/analytics/anomalies",
        analytics.anomalies,
        Role.VIEWER,
        "What is unusual here: incidents that no fault explains first, then the worst first",
        query={"since": "those that were open then or later, seconds since 1970-01-01 UTC; the last hour without it"},
    ),
    _api("GET", "/analytics/metrics", analytics.metrics, Role.VIEWER, "The names of what is recorded here"),
    _api(
        "GET",
        "/analytics/trends/{metric}",
        analytics.trend,
        Role.VIEWER,
        "Where a metric of this peer went",
        query=_RANGE,
    ),
    _api(
        "GET",
        "/analytics/forecasts/{metric}",
        analytics.forecast,
        Role.VIEWER,
        "The next minutes of a metric of this peer",
        query={"horizon": f"minutes, 1 to {limits.FORECAST_MINUTES}; 30 without it"},
    ),
    _api("GET", "/analytics/insights", analytics.insights, Role.VIEWER, "What is to be expected here, and what came"),
    _api("GET", "/analytics/health", analytics.health, Role.VIEWER, "The health score of what was recorded here"),
    _api(
        "GET",
        "/analytics/correlations",
        analytics.correlations,
        Role.VIEWER,
        "Which metrics of this peer move together",
        query={**_RANGE, "maxLagMinutes": f"0 to {limits.LAG_MINUTES}; 10 without it"},
    ),
    _api("GET", "/analytics/impact/{id}", analytics.impact, Role.VIEWER, "What a task did to latency and errors here"),
    _api(
        "POST",
        "/join",
        writes.join,
        Role.OPEN,
        "Make a new peer a member, a voter or an observer: for an admin, or for who proves to have a join token",
        body={
            "name!": _NAME,
            "directory!": _NAME,
            "raftAddress!": _ADDRESS,
            "apiAddress!": _ADDRESS,
            "version": _NAME,
            "observer": {"type": "boolean"},
            "request": {"type": "string", "description": "a certificate request, PEM"},
            "hosts": {"type": "array", "items": {"type": "string"}},
            "token": {"type": "string", "description": "id of a join token"},
            "proof": {"type": "string", "description": "signature with the join token, base64"},
        },
    ),
    _api("GET", "/tokens", access.tokens, Role.ADMIN, "All tokens, without their secrets", query=_FRESH),
    _api(
        "POST",
        "/tokens",
        access.create_token,
        Role.ADMIN,
        "Give a caller an API token; it is shown in this answer only",
        body={"name!": _NAME, "role!": {"type": "string", "enum": list(GIVEN)}, "seconds": _SECONDS},
    ),
    _api(
        "POST",
        "/tokens/certificate",
        access.create_certificate,
        Role.ADMIN,
        "Give a caller a certificate; it is listed and revoked as a token",
        body={
            "name!": _NAME,
            "role!": {"type": "string", "enum": list(GIVEN)},
            "request!": {"type": "string", "description": "a certificate request, PEM"},
            "seconds": _SECONDS,
        },
    ),
    _api(
        "POST",
        "/tokens/join",
        access.create_join_token,
        Role.ADMIN,
        "Make a token with which peers join; it is shown in this answer only",
        body={"seconds": _SECONDS, "single": {"type": "boolean"}},
    ),
    _api("DELETE", "/tokens/{id}", access.revoke_token, Role.ADMIN, "End a token, by its id or its name"),
    _api(
        "GET", "/authority", access.authority, Role.VIEWER, "The CAs that are trusted, and who is behind", query=_FRESH
    ),
    _api("POST", "/authority/rotate", access.rotate_authority, Role.ADMIN, "Replace the CA without closing anything"),
    _api(
        "GET",
        "/backup",
        backups.backup,
        Role.ADMIN,
        "The replicated state as one file for `raftchaos restore`",
        query=_FRESH,
        media="application/octet-stream",
    ),
    _api("GET", "/openapi.json", _openapi, Role.VIEWER, "This description"),
    Route("GET", "/metrics", reads.metrics, Role.VIEWER, "Metrics for Prometheus", media="text/plain", scraped=True),
    Route("GET", "/healthz", reads.healthz, Role.OPEN, "Whether the peer works"),
    Route("GET", "/readyz", reads.readyz, Role.OPEN, "Whether the peer has caught up and sees a leader"),
)

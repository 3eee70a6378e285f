"""Every error leaves the API as problem+json (RFC 9457), and none of them with a traceback."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from raftchaos import limits
from raftchaos.api.views import problem_view
from raftchaos.errors import Busy, NoQuorum, NotFound, RaftchaosError, TooLarge, UsageError

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER = "1"


def problem_response(error: RaftchaosError, *, status: int = 0) -> web.Response:
    """The answer for an error. `status` replaces the HTTP status of its class."""
    spec = error.spec
    code = status or spec.http_status
    title = spec.code.replace("-", " ")
    body = problem_view(spec.code, code, title, error.message, error.hint, error.details) | {"definite": spec.definite}
    headers = {"Retry-After": RETRY_AFTER} if isinstance(error, NoQuorum | Busy) else None
    return web.Response(body=json.dumps(body).encode(), status=code, content_type=CONTENT_TYPE, headers=headers)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever a handler raises into an answer."""
    try:
        return await handler(request)
    except RaftchaosError as error:
        return problem_response(error)
    except web.HTTPException as error:
        return _of_http(request, error)
    except (ConnectionResetError, TimeoutError):
        raise
    except Exception:  # a defect: it is logged with its place, and the caller is told nothing of the inside
        log.exception("the answer to %s %s failed", request.method, request.path)
        return problem_response(RaftchaosError("the peer failed to answer; its log has the details"))


def _of_http(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    """What aiohttp itself refuses: unknown paths, wrong methods, bodies that are too large."""
    shown = request.path[:200]
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        hint = f"use one of: {allowed}"
        response = problem_response(
            UsageError(f"found {error.method} {shown}, expected {allowed}", hint=hint), status=405
        )
        response.headers["Allow"] = allowed
        return response
    if isinstance(error, web.HTTPNotFound):
        return problem_response(NotFound(f"there is no {shown} in this API", hint="GET /api/v1/openapi.json lists it"))
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return problem_response(TooLarge(f"found a body of more than {limits.HTTP_BODY:,} bytes"))
    if error.status >= 400:
        return problem_response(UsageError(f"{error.status}: {error.reason}"), status=error.status)
    return error

"""The handlers that ask the analyst of this peer what it makes of its recording."""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from raftchaos import limits
from raftchaos.api.context import Context, answer, look
from raftchaos.api.requests import number_parameter
from raftchaos.api.tasks_view import find_task
from raftchaos.errors import Refused, UsageError

HOUR = 3600.0


async def anomalies(context: Context, request: web.Request) -> web.StreamResponse:
    """Incidents that were open at `since` or later: those that no fault explains first, then the worst first."""
    since = _time(request, "since", context.clock.wall() - HOUR)
    return await _asked(context, "anomalies", since=since)


async def metrics(context: Context, request: web.Request) -> web.StreamResponse:
    """The names of what is recorded here."""
    return await _asked(context, "metrics")


async def trend(context: Context, request: web.Request) -> web.StreamResponse:
    """Where a metric went."""
    start, end = _range(context, request)
    return await _asked(context, "trend", metric=request.match_info["metric"], start=start, end=end)


async def forecast(context: Context, request: web.Request) -> web.StreamResponse:
    """The next minutes of a metric."""
    horizon = number_parameter(request, "horizon", 30, least=1, most=limits.FORECAST_MINUTES)
    return await _asked(context, "forecast", metric=request.match_info["metric"], horizon=horizon)


async def insights(context: Context, request: web.Request) -> web.StreamResponse:
    """What is to be expected, and how right earlier insights were."""
    return await _asked(context, "insights")


async def health(context: Context, request: web.Request) -> web.StreamResponse:
    """The health score of what was recorded here in the last minutes, with what takes from it."""
    return await _asked(context, "health")


async def correlations(context: Context, request: web.Request) -> web.StreamResponse:
    """Which metrics move together, and which one first."""
    start, end = _range(context, request)
    lag = number_parameter(request, "maxLagMinutes", 10, least=0, most=limits.LAG_MINUTES)
    return await _asked(context, "correlations", start=start, end=end, max_lag=lag)


async def impact(context: Context, request: web.Request) -> web.StreamResponse:
    """What a task did to latency and errors here, from when its first fault was on until its last one was off."""
    seen = await look(context, request)
    start, end = _on(find_task(seen.state, request.match_info["id"], context.now_ms()), context.now_ms())
    return await _asked(context, "impact", start=start, end=end)


async def _asked(context: Context, what: str, **fields: Any) -> web.StreamResponse:
    services = context.services
    found = await services.analyst.ask(what, **fields)
    return answer({"node": services.name, "nowMs": context.now_ms(), what: found})


def _on(task: dict[str, Any], now_ms: int) -> tuple[float, float]:
    """When the faults of a task were on, seconds since the epoch. Refused if none was."""
    runs = [run for step in task["steps"] for run in step["runs"]]
    begun = [run["activeMs"] or run["grantedMs"] for run in runs if run["activeMs"] or run["grantedMs"]]
    if not begun:
        raise Refused(f"no fault of {task['id']} was on, so that it had no impact", hint="look again once it runs")
    ended = [run["endedMs"] or now_ms for run in runs if run["activeMs"] or run["grantedMs"]]
    return min(begun) / 1000, max(ended) / 1000


def _range(context: Context, request: web.Request) -> tuple[float, float]:
    """`start` and `end` of the query; the last hour without them. Raises UsageError."""
    now = context.clock.wall()
    end = _time(request, "end", now)
    start = _time(request, "start", end - HOUR)
    if not start < end:
        raise UsageError(f"found the range {start:g} to {end:g}, expected a start before its end")
    return start, end


def _time(request: web.Request, key: str, default: float) -> float:
    """A time in the query, seconds since the epoch. Raises UsageError."""
    text = request.query.get(key)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 2**35:
        raise UsageError(f"found {key}={text[:60]!r} in the query, expected seconds since 1970-01-01 UTC")
    return value

"""A series from a Prometheus server: one range query, bounded in size and time."""

from __future__ import annotations

import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import Any

from raftchaos.analytics.series import Series
from raftchaos.analytics.sources.series import to_series
from raftchaos.errors import UsageError

TOKEN_VARIABLE = "RAFTCHAOS_PROMETHEUS_TOKEN"
MOST_POINTS = 11_000  # of one series: a server refuses more
ANSWER_BYTES = 16 * 1024 * 1024
SECONDS = 30.0  # for the whole answer
_NICE_STEPS = (1, 5, 10, 15, 30, 60, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400)
_SHOWN = 5  # names of series in an error


class PrometheusError(UsageError):
    """A Prometheus server that cannot be asked, or whose answer is no single series."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token is for the server that was named, so no answer sends it elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def usual_step(start: float, end: float) -> float:
    """The finest usual step, from 15 seconds up, with which a server answers the range at once."""
    return next((float(step) for step in _NICE_STEPS if step >= 15 and (end - start) / step < MOST_POINTS), 86_400.0)


def query_range(url: str, query: str, start: float, end: float, step: float | None = None) -> tuple[Series, list[str]]:
    """The one series that `query` gives between two times (seconds since the epoch), and notes about it.

    With a bearer token from RAFTCHAOS_PROMETHEUS_TOKEN, if it is set. Raises PrometheusError if the server does not
    answer within 30 s, answers with an error, with more than 16 MiB, or with no or several series.
    """
    if not start < end:
        raise PrometheusError(f"found a range from {start:g} to {end:g}, expected its start before its end")
    chosen = step if step is not None else usual_step(start, end)
    if chosen <= 0 or (end - start) / chosen >= MOST_POINTS:
        raise PrometheusError(
            f"found a step of {chosen:g} s for a range of {end - start:g} s, expected less than {MOST_POINTS:,} steps",
            hint=f"give a step of at least {math.ceil((end - start) / (MOST_POINTS - 1))} s, or a shorter range",
        )
    wanted = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{chosen:g}"}
    answer = _ask(_address(url), wanted)
    points = _only_series(answer, query)
    return to_series(query, [float(at) for at, _ in points], [float(value) for _, value in points])


def _address(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PrometheusError(f"found {parts.scheme or 'no scheme'} for Prometheus, expected http://HOST:PORT")
    if parts.username is not None or parts.password is not None:
        raise PrometheusError(
            "found a name or a password in the address of Prometheus, expected none",
            hint=f"put a bearer token into {TOKEN_VARIABLE}",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/api/v1/query_range"


def _ask(address: str, wanted: dict[str, str]) -> dict[str, Any]:
    host = urllib.parse.urlsplit(address).netloc
    request = urllib.request.Request(address, data=urllib.parse.urlencode(wanted).encode())
    if token := os.environ.get(TOKEN_VARIABLE):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=SECONDS) as response:
            body = _read(response, host)
    except urllib.error.HTTPError as error:
        with error:
            raise PrometheusError(f"{host} answered {error.code}: {_reason(error)}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise PrometheusError(
            f"{host} could not be asked: {reason}", hint="check that the address is that of a Prometheus server"
        ) from None
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or answer.get("status") != "success":
        raise PrometheusError(f"{host} answered something that is not from Prometheus: {body[:60]!r}")
    return answer


def _read(response: Any, host: str) -> bytes:
    """The whole answer, within its bounds."""
    deadline = time.monotonic() + SECONDS
    found = bytearray()
    while part := response.read1(65_536):
        found += part
        if len(found) > ANSWER_BYTES:
            raise PrometheusError(
                f"{host} answered more than {ANSWER_BYTES // 2**20} MiB, expected one series",
                hint="aggregate the query, for example sum(…)",
            )
        if time.monotonic() > deadline:
            raise PrometheusError(f"{host} was not done answering after {SECONDS:g} s", hint="ask for a shorter range")
    return bytes(found)


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        told = json.loads(error.read(65_536))
        return str(told["error"])[:500]
    except (ValueError, KeyError, TypeError, OSError):
        return str(error.reason)


def _only_series(answer: dict[str, Any], query: str) -> list[list[Any]]:
    data = answer.get("data")
    found = data.get("result") if isinstance(data, dict) else None
    if not isinstance(found, list) or not isinstance(data, dict) or data.get("resultType") != "matrix":
        raise PrometheusError(f"{query} gave no range of values")
    if len(found) != 1:
        names = [json.dumps(one.get("metric", {})) for one in found[:_SHOWN]]
        more = f": {', '.join(names)}{' …' if len(found) > _SHOWN else ''}" if names else ""
        raise PrometheusError(
            f"{query} gave {len(found)} series, expected one{more}",
            hint="aggregate it, for example sum(…)" if found else "check the name, the labels and the range",
        )
    points = found[0].get("values")
    if not isinstance(points, list) or len(points) < 2:
        raise PrometheusError(f"{query} gave fewer than two readings", hint="ask for a longer range or a finer step")
    return points

"""The part of the client that is about what a peer makes of its recording."""

from __future__ import annotations

from typing import Any

from raftchaos import limits
from raftchaos.client.calls import Calls, Json, part
from raftchaos.client.transport import PREFIX, Request


class AnalyticsCalls(Calls):
    """Findings of the peer that answers first, or of `peer`. Times are seconds since the epoch."""

    async def anomalies(self, since: float | None = None, *, peer: str | None = None) -> Json:
        """`{"node", "anomalies"}`: incidents that were open at `since` or later; of the last hour without it."""
        return await self._found("/analytics/anomalies", {"since": since}, peer)

    async def recorded_metrics(self, *, peer: str | None = None) -> Json:
        """`{"node", "metrics"}`: the names of what is recorded."""
        return await self._found("/analytics/metrics", {}, peer)

    async def trend(
        self, metric: str, start: float | None = None, end: float | None = None, *, peer: str | None = None
    ) -> Json:
        """`{"node", "trend"}` of a metric. Raises NotFound with the known metrics."""
        return await self._found(f"/analytics/trends/{part(metric)}", {"start": start, "end": end}, peer)

    async def forecast(self, metric: str, horizon: int | None = None, *, peer: str | None = None) -> Json:
        """`{"node", "forecast"}` of the next `horizon` minutes of a metric."""
        return await self._found(f"/analytics/forecasts/{part(metric)}", {"horizon": horizon}, peer)

    async def insights(self, *, peer: str | None = None) -> Json:
        """`{"node", "insights"}`: what is to be expected, and how right earlier ones were."""
        return await self._found("/analytics/insights", {}, peer)

    async def health(self, *, peer: str | None = None) -> Json:
        """`{"node", "health"}`: the score with its factors; None if nothing was recorded in the last minutes."""
        return await self._found("/analytics/health", {}, peer)

    async def correlations(
        self, start: float | None = None, end: float | None = None, *, peer: str | None = None
    ) -> Json:
        """`{"node", "correlations"}`: metrics that move together."""
        return await self._found("/analytics/correlations", {"start": start, "end": end}, peer)

    async def impact(self, task: str, *, peer: str | None = None) -> Json:
        """`{"node", "impact"}` of a task on latency and errors. Raises NotFound, and Refused if no fault was on."""
        return await self._found(f"/analytics/impact/{part(task)}", {}, peer)

    async def _found(self, path: str, query: dict[str, Any], peer: str | None) -> Json:
        """One question; a fit may take a while."""
        asked = {key: str(value) for key, value in query.items() if value is not None}
        request = Request("GET", PREFIX + path, asked)
        patience = limits.ANALYST_ANSWER + 1.0
        timeout = max(self._transport.timeout, patience)
        found: Json = await self._transport.call(request, peer=peer, attempt=patience, timeout=timeout)
        return found

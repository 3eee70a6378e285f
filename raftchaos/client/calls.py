"""How the client reads and writes, whatever it is about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from raftchaos.client.transport import ATTEMPT, PREFIX, Request, Transport

Json = dict[str, Any]

READ = 2.5  # one read at one peer; a strong one takes two seconds at most


def part(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="") or "-"


class Calls:
    """Reads and writes over a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def _get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        peer: str | None = None,
        strong: bool = False,
        fresh: bool = False,
    ) -> Json:
        """Reads; `fresh` asks for a state at least as new as what this client has seen already."""
        query = {key: value for key, value in (params or {}).items() if value}
        if strong:
            query["consistency"] = "strong"
        if fresh and self._transport.index:
            query["atLeast"] = str(self._transport.index)
        answer: Json = await self._transport.call(Request("GET", PREFIX + path, query), peer=peer, attempt=READ)
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        peer: str | None = None,
        patience: float | None = None,
    ) -> Json:
        """Writes; `patience` is how long one peer may take for it, if that is longer than usual."""
        request = Request(method, PREFIX + path, body=None if body is None else json.dumps(body).encode())
        timeout = max(self._transport.timeout, patience or 0.0)
        answer: Json = await self._transport.call(request, peer=peer, attempt=patience or ATTEMPT, timeout=timeout)
        return answer

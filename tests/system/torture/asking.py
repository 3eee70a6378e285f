"""Requests to peers and proxies, from within whatever namespace the calling thread is in."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

from tests.system.torture.history import FAIL, OK, UNKNOWN
from tests.system.torture.machines import API_PORT

PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request."""

    outcome: str
    """OK, FAIL or UNKNOWN."""
    status: int
    """The HTTP status, 0 if there was none."""
    body: dict[str, Any]
    problem: str = ""

    @property
    def code(self) -> str:
        """The code of the problem, if it is one."""
        return str(self.body.get("code", ""))


def ask(address: str, method: str, path: str, body: Any = None, *, timeout: float = 4.0) -> Answer:
    """One request to a peer's API. Never raises what a network or a peer can do."""
    connection = http.client.HTTPConnection(address, API_PORT, timeout=timeout)
    try:
        try:
            connection.connect()
        except OSError as error:
            return Answer(FAIL, 0, {}, f"not connected: {error!r}")
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, PREFIX + path, payload, {"Content-Type": "application/json"} if payload else {})
            answer = connection.getresponse()
            found = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer(UNKNOWN, 0, {}, repr(error))
    finally:
        connection.close()
    if answer.status < 400:
        return Answer(OK, answer.status, found)
    outcome = FAIL if found.get("definite") else UNKNOWN
    return Answer(outcome, answer.status, found, f"{found.get('code')}: {found.get('detail')}")

"""Whether a fault is left behind: asked of the peers, of their proxy processes, and of the traffic itself."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raftchaos.client import Client
from raftchaos.demo.stage import Stage
from raftchaos.errors import RaftchaosError
from raftchaos.proxy.control import call_all, control_socket_path

REQUESTS = 12  # through each proxy, one after the other
FAST = 0.1  # seconds; half of the least latency that the experiment adds


@dataclass(frozen=True, slots=True)
class ProxyCheck:
    """What was found at one proxy."""

    node: str
    process: int | None
    """Process id of the proxy, None if it did not answer."""
    toxics: tuple[str, ...]
    """Runs whose faults the proxy process still bears."""
    active: tuple[str, ...]
    """Runs whose faults the peer says are on."""
    failed: int
    """Requests through the proxy that were not answered with 200."""
    slowest: float
    """Seconds of the slowest request."""
    error: str = ""
    """Why it could not be asked."""

    @property
    def clean(self) -> bool:
        """Whether no trace of a fault was found, and everything could be asked."""
        return not (self.toxics or self.active or self.failed or self.error) and self.slowest < FAST

    def to_dict(self) -> dict[str, Any]:
        """As data."""
        return {
            "node": self.node,
            "clean": self.clean,
            "proxyProcess": self.process,
            "faultsInProxy": list(self.toxics),
            "activeFaults": list(self.active),
            "requests": REQUESTS,
            "failedRequests": self.failed,
            "slowestMs": round(self.slowest * 1000, 2),
            "error": self.error,
        }


async def nothing_left(stage: Stage, client: Client) -> list[ProxyCheck]:
    """Checks the proxy of every peer."""
    return [await _check(stage, client, name) for name in stage.peers]


async def _check(stage: Stage, client: Client, name: str) -> ProxyCheck:
    peer = stage.peers[name]
    failed, slowest = await asyncio.to_thread(ask_through, stage.proxies[name], REQUESTS)
    process: int | None = None
    toxics: Sequence[str] = ()
    active: Sequence[str] = ()
    error = ""
    try:
        status = await client.status(peer=peer.listen)
        active = [fault["run"] for fault in status["activeFaults"]]
        socket = control_socket_path(peer.data_dir, "proxy.sock")
        (hello,) = await asyncio.to_thread(call_all, socket, [{"do": "hello"}])
        process, toxics = hello["pid"], hello["faults"]
    except RaftchaosError as problem:
        error = str(problem)
    return ProxyCheck(name, process, tuple(toxics), tuple(active), failed, slowest, error)


def ask_through(address: str, count: int, *, timeout: float = 3.0) -> tuple[int, float]:
    """Sends `count` requests through a proxy, each on a connection of its own. Blocks.

    Returns how many were not answered with 200, and the seconds of the slowest.
    """
    host, _, port = address.rpartition(":")
    failed, slowest = 0, 0.0
    for item in range(count):
        began = time.monotonic()
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        try:
            connection.request("GET", f"/charge?item={item}")
            answer = connection.getresponse()
            answer.read()
            failed += answer.status != 200
        except (OSError, http.client.HTTPException):
            failed += 1
        finally:
            connection.close()
        slowest = max(slowest, time.monotonic() - began)
    return failed, slowest

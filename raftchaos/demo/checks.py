"""Whether a fault is left behind: asked of the peers, of their proxy processes, and of the traffic itself."""

from __future__ import annotations

import asyncio
import http.client
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raftchaos.client import Client
from raftchaos.demo.stage import Stage
from raftchaos.errors import RaftchaosError
from raftchaos.proxy.control import call_all, control_socket_path

REQUESTS = 12  # through each proxy, one after the other
PROXY_SOCKET = "proxy"  # name of its control socket in the data directory
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
    typical: float
    """Seconds of the median request: a fault of the experiment would slow all of them, a busy machine one or two."""
    error: str = ""
    """Why it could not be asked."""

    @property
    def clean(self) -> bool:
        """Whether no trace of a fault was found, and everything could be asked."""
        return not (self.toxics or self.active or self.failed or self.error) and self.typical < FAST

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
            "medianMs": round(self.typical * 1000, 2),
            "error": self.error,
        }


async def nothing_left(stage: Stage, client: Client) -> list[ProxyCheck]:
    """Checks the proxy of every peer."""
    return [await _check(stage, client, name) for name in stage.peers]


async def _check(stage: Stage, client: Client, name: str) -> ProxyCheck:
    peer = stage.peers[name]
    failed, typical = await asyncio.to_thread(ask_through, stage.proxies[name], REQUESTS)
    process: int | None = None
    toxics: Sequence[str] = ()
    active: Sequence[str] = ()
    error = ""
    try:
        status = await client.status(peer=peer.listen)
        active = [fault["run"] for fault in status["activeFaults"]]
        hello = await asyncio.to_thread(ask_proxy_process, peer.data_dir)
        process, toxics = hello["pid"], hello["faults"]
    except RaftchaosError as problem:
        error = str(problem)
    return ProxyCheck(name, process, tuple(toxics), tuple(active), failed, typical, error)


def ask_proxy_process(data_dir: Path) -> dict[str, Any]:
    """What the proxy process of a peer says of itself, asked without the peer: `pid`, `faults` (runs that it bears), …

    Blocks. Raises `ProxyUnavailable` if it does not answer.
    """
    (hello,) = call_all(control_socket_path(data_dir, PROXY_SOCKET), [{"do": "hello"}])
    return hello


def ask_through(address: str, count: int, *, timeout: float = 3.0) -> tuple[int, float]:
    """Sends `count` requests through a proxy, each on a connection of its own. Blocks.

    Returns how many were not answered with 200, and the seconds of the median request.
    """
    host, _, port = address.rpartition(":")
    failed = 0
    seconds: list[float] = []
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
        seconds.append(time.monotonic() - began)
    return failed, statistics.median(seconds)

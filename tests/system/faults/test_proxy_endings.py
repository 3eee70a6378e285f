"""One peer bears every fault of its proxies, each on a proxy of its own; whatever is killed, all relay as before."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from raftchaos import limits
from raftchaos.proxy import http2
from raftchaos.proxy.faults import FAULTS
from tests.system.faults.harms import HARMS
from tests.system.harness import Cluster, PeerProcess, free_port, orchestration, wait_until, words_of

BOUND = limits.LEASE + limits.REVERT
AT_ONCE = 1.2  # seconds, also on a busy machine
BODY = b'{"data":{"a":"%s"}}' % (b"x" * 300)
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
PARAMETERS: dict[str, dict[str, Any]] = {
    "latency": {"latencyMs": 1500.0},
    "bandwidth": {"kilobytesPerSecond": 0.4},
    "slow_close": {"delayMs": 1500.0},
    "timeout": {},
    "reset_peer": {},
    "slicer": {"averageBytes": 10, "delayMs": 30.0},
    "limit_data": {"limitBytes": 5},
    "limit_time": {"limitMs": 0.0},
    "corrupt": {"rate": 0.1},
    "refuse": {},
    "connection_limit": {"maxConnections": 0},
    "graphql": {"nullField": "a"},
    "http_error": {},
    "http_timeout": {"holdMs": 1500.0},
    "http_abort": {"afterBytes": 5},
    "http_partial": {"keepBytes": 5},
    "http_corrupt": {},
    "http_headers": {"set": {"X-New": "1"}},
    "http_replace": {"body": "{}"},
    "rate_limit": {"requestsPerSecond": 0.001, "burst": 1},
    "websocket": {"action": "drop"},
    "grpc": {},
}
ASKED = b"GET /?query=%7Ba%7D HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"
CALL = [(b":method", b"POST"), (b":path", b"/shop.Cart/Add"), (b"content-type", b"application/grpc")]
CALLED = (
    http2.PREFACE
    + http2.frame(http2.SETTINGS, 0, 0, b"")
    + http2.headers_frame(1, CALL)
    + http2.data_frame(1, b"\0\0\0\0\1q", end=True)
)
CALL_ANSWERED = (
    http2.frame(http2.SETTINGS, 0, 0, b"")
    + http2.headers_frame(1, [(b":status", b"200"), (b"content-type", b"application/grpc")])
    + http2.data_frame(1, b"\0\0\0\0\1a")
    + http2.headers_frame(1, [(b"grpc-status", b"0")], end=True)
)
SPECIAL = {"websocket": (UPGRADE, SWITCHED), "grpc": (CALLED, CALL_ANSWERED)}


class Service(socketserver.BaseRequestHandler):
    """Answers each request with the same bytes."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(65536):
                if data.startswith(http2.PREFACE):
                    self.request.sendall(CALL_ANSWERED)
                    continue
                for _ in range(data.count(b"\r\n\r\n")):
                    self.request.sendall(SWITCHED if b"Upgrade" in data else REPLY)


class Server(socketserver.ThreadingTCPServer):
    """Takes all clients at once: a full backlog would look like a slow proxy."""

    daemon_threads = True
    request_queue_size = 128


class Street:
    """A service, a proxy for each fault in front of it, and what a client gets through them."""

    def __init__(self) -> None:
        self.server = Server(("127.0.0.1", 0), Service)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.ports = {name.replace("_", "-"): free_port() for name in PARAMETERS}
        self.pool = ThreadPoolExecutor(len(self.ports))

    def proxies(self, node: str) -> list[dict[str, str]]:
        upstream = f"127.0.0.1:{self.server.server_address[1]}"
        return [
            {"name": name, "listen": f"127.0.0.1:{port}", "upstream": upstream} for name, port in self.ports.items()
        ]

    def touched(self) -> set[str]:
        """The proxies through which a client does not get exactly what the service sent, at once."""
        whole = self.pool.map(self._as_it_should_be, self.ports)
        return {name for name, well in zip(self.ports, whole, strict=True) if not well}

    def _as_it_should_be(self, name: str) -> bool:
        """Two requests on one connection, a WebSocket and its first message, or a call of gRPC; and its end."""
        begin, got = time.monotonic(), b""
        asked, expected = SPECIAL.get(name, (ASKED * 2, REPLY * 2))
        try:
            with socket.create_connection(("127.0.0.1", self.ports[name]), 3.0) as sock:
                sock.sendall(asked)
                sock.shutdown(socket.SHUT_WR)
                while data := sock.recv(65536):
                    got += data
        except OSError:
            return False
        return got == expected and time.monotonic() - begin < AT_ONCE

    def close(self) -> None:
        self.pool.shutdown()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def street() -> Iterator[Street]:
    made = Street()
    yield made
    made.close()


def begin(cluster: Cluster, street: Street, seconds: float) -> list[str]:
    """One task for each fault; returns when all are on."""
    tasks = []
    for name, parameters in PARAMETERS.items():
        proxy = name.replace("_", "-")
        step = {
            "name": name, "scenario": name, "durationSeconds": seconds, "parameters": {**parameters, "proxy": proxy}
        }  # fmt: skip
        document = orchestration("parallel", [step])
        document["metadata"] = {"name": proxy}
        tasks.append(cluster.submit(document))
    wait_until(lambda: street.touched() == set(street.ports), 30, "every fault is on", 0.2)
    return tasks


def test_every_fault_of_the_proxies_is_here() -> None:
    assert set(PARAMETERS) == set(FAULTS)


def test_they_end_with_their_steps_and_tell_what_they_did(cluster: Cluster, street: Street) -> None:
    cluster.start(1, street.proxies)
    wait_until(lambda: not street.touched(), 20, "all proxies relay")
    tasks = begin(cluster, street, 30)
    for task, name in zip(tasks, PARAMETERS, strict=True):
        view = cluster.wait_task(task, 60)
        assert (view["status"], view["verdict"]) == ("completed", "passed"), (name, view)
    wait_until(lambda: not street.touched(), 5, "all proxies relay again")


@pytest.mark.parametrize("harm", HARMS)
def test_whatever_is_killed_all_proxies_relay_as_before(
    harm: Callable[[PeerProcess], None], cluster: Cluster, street: Street
) -> None:
    cluster.start(1, street.proxies)
    begin(cluster, street, 120)
    harm(cluster["node-1"])
    wait_until(lambda: not street.touched(), BOUND * 3, "all proxies relay again")


@pytest.mark.parametrize("which", ["proxy", "reaper"])
def test_after_the_proxy_or_the_reaper_alone_every_fault_is_whole_again(
    which: str, cluster: Cluster, street: Street
) -> None:
    cluster.start(1, street.proxies)
    tasks = begin(cluster, street, 40)
    word = {"proxy": "raftchaos.proxy", "reaper": "raftchaos.faults.reaper"}[which]
    victims = [child for child in cluster["node-1"].children() if word in words_of(child)]
    assert victims
    for victim in victims:
        victim.kill()
    wait_until(lambda: street.touched() == set(street.ports), 10, "every fault is on again")
    for task in tasks:
        assert cluster.wait_task(task, 60)["status"] == "completed"
    wait_until(lambda: not street.touched(), 5, "all proxies relay again")

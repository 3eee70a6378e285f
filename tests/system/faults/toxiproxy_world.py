"""A peer that answers toxiproxy's API, services behind its proxies, and what a client sees of them by its own clock."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.system.harness import ApiError, Cluster, PeerProcess, call, free_port, wait_until


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it receives; a first byte `n` asks for a megabyte in place of that."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(b"x" * 1_000_000 if data.startswith(b"n") else data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


class Toxiproxy:
    """One peer of a cluster, and its API for toxiproxy's clients."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.port = free_port()
        cluster.config["toxiproxy-listen"] = f"127.0.0.1:{self.port}"
        self.server = Server(("127.0.0.1", 0), Echo)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.upstream = f"127.0.0.1:{self.server.server_address[1]}"

    def start(self) -> PeerProcess:
        """Start the peer; it answers when this returns."""
        return self.cluster.start(1)["node-1"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request to the API. Raises ApiError."""
        return call(self.port, method, path, body)

    def refusal(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Status and text of an error."""
        try:
            found = self.call(method, path, body)
        except ApiError as error:
            return error.status, error.body["error"]
        raise AssertionError(f"{method} {path} was answered: {found}")

    def create(self, name: str, **more: Any) -> int:
        """A proxy in front of the service; its port."""
        made = self.call("POST", "/proxies", {"name": name, "upstream": self.upstream, **more})
        return int(made["listen"].rpartition(":")[2])

    def add(self, proxy: str, type_: str, **more: Any) -> dict[str, Any]:
        """A toxic; what is neither name, stream nor toxicity is an attribute."""
        fixed = {key: more.pop(key) for key in ("name", "stream", "toxicity") if key in more}
        made: dict[str, Any] = self.call(
            "POST", f"/proxies/{proxy}/toxics", {"type": type_, **fixed, "attributes": more}
        )
        return made

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def connect(port: int) -> socket.socket:
    """A client's connection."""
    return socket.create_connection(("127.0.0.1", port), 10)


def timed(action: Callable[[], Any]) -> float:
    """How many seconds something takes, by the client's clock."""
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


def ask(sock: socket.socket, data: bytes = b"\x00hello") -> bytes:
    """Send, and what comes back: as much, b"" at the end of the stream."""
    sock.sendall(data)
    return receive(sock, len(data))


def receive(sock: socket.socket, size: int) -> bytes:
    """So many bytes, or what comes until the end."""
    got = b""
    while len(got) < size and (data := sock.recv(size - len(got))):
        got += data
    return got


def relays(port: int, within: float = 0.5) -> bool:
    """Whether a client is served at once and well."""
    with contextlib.suppress(OSError), connect(port) as sock:
        begin = time.monotonic()
        sock.settimeout(within)
        return ask(sock) == b"\x00hello" and time.monotonic() - begin < within
    return False


def refuses(port: int) -> bool:
    """Whether nothing listens there."""
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


def hangs_up(sock: socket.socket, within: float = 5) -> bool:
    """Whether the connection ends, in whichever way."""
    sock.settimeout(within)
    try:
        while sock.recv(65536):
            continue
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


__all__ = ["ApiError", "Toxiproxy", "ask", "connect", "hangs_up", "receive", "refuses", "relays", "timed", "wait_until"]

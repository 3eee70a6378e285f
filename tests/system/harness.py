"""Real peers as processes on loopback, driven from outside over their API and with signals."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from raftchaos.identity.local import forget_socket, socket_of
from raftchaos.launch import LocalConnection, free_port


def words_of(process: psutil.Process) -> list[str]:
    """The words that a process was started with; none if it has ended meanwhile."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def wait_until(condition: Callable[[], Any], seconds: float, what: str, interval: float = 0.05) -> Any:
    """The first true value of `condition`; fails the test with `what` after `seconds`."""
    end = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < end:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (OSError, http.client.HTTPException, ApiError, LookupError) as error:
            last = error
        time.sleep(interval)
    raise AssertionError(f"waited {seconds} s for: {what}; last: {last!r}")


class ApiError(Exception):
    """An answer of 400 or above."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


def call(port: int, method: str, path: str, body: Any = None, timeout: float = 5.0) -> Any:
    """One request to a peer's API; the JSON answer. Raises ApiError and OSError."""
    address = f"127.0.0.1:{port}"
    local = socket_of(address)
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        if local is None
        else LocalConnection(local, address, timeout=timeout)
    )
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
        answer = connection.getresponse()
        data = answer.read()
        kind = answer.getheader("Content-Type", "")
        value = json.loads(data) if "json" in kind else data.decode()
        if answer.status >= 400:
            raise ApiError(answer.status, value)
        return value
    finally:
        connection.close()


class PeerProcess:
    """One `raftchaos peer`."""

    def __init__(self, name: str, root: Path, proxies: list[dict[str, str]] | None = None) -> None:
        self.name, self.root = name, root
        self.data = root / name
        self.api, self.raft = free_port(), free_port()
        self.config = root / f"{name}.yaml"
        self.log = root / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.config.write_text(json.dumps({"proxies": proxies or []}))

    def command(self, join: int | None = None, extra: tuple[str, ...] = ()) -> list[str]:
        """The command line of this peer."""
        words = [
            sys.executable, "-m", "raftchaos.cli.main", "peer", "--name", self.name,
            "--listen", f"127.0.0.1:{self.api}", "--raft-listen", f"127.0.0.1:{self.raft}",
            "--data-dir", str(self.data), "--config", str(self.config),
        ]  # fmt: skip
        if join is not None:
            words += ["--join", f"127.0.0.1:{join}"]
        return [*words, *extra]

    def start(self, join: int | None = None, extra: tuple[str, ...] = ()) -> PeerProcess:
        """Start the process, in a session of its own; its output goes to `log`."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(join, extra),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "RAFTCHAOS_TEST_PEER": str(self.data)},
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def get(self, path: str, timeout: float = 5.0) -> Any:
        return call(self.api, "GET", path, timeout=timeout)

    def post(self, path: str, body: Any = None, timeout: float = 5.0) -> Any:
        return call(self.api, "POST", path, body if body is not None else {}, timeout)

    def delete(self, path: str, timeout: float = 5.0) -> Any:
        return call(self.api, "DELETE", path, timeout=timeout)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/api/v1/status")
        return found

    def ready(self) -> bool:
        try:
            self.get("/readyz", 2.0)
        except (ApiError, OSError, http.client.HTTPException):
            return False
        return True

    def children(self) -> list[psutil.Process]:
        """Its other processes that live now, proxy and reaper: they inherit a mark in their environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                marked = process.pid != self.pid and process.environ().get("RAFTCHAOS_TEST_PEER") == str(self.data)
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL of main."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self, seconds: float = 15) -> int:
        """A graceful stop; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(seconds)

    def wait_exit(self, seconds: float = 20) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def wait_childless(self, seconds: float = 5) -> None:
        """Until no helper process of a peer that has ended is left; a reaper that starts sees it a moment later."""
        wait_until(lambda: not self.children(), seconds, f"no process of {self.name} is left")

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def end(self) -> None:
        """Ends everything that belongs to this peer, by process id."""
        if self.process is None:
            return
        children = self.children()
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)
        for child in [*children, *self.children()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGCONT)
                child.kill()
        forget_socket(f"127.0.0.1:{self.api}")


class Cluster:
    """Peers that found and join one cluster."""

    def __init__(self, root: Path, extra: tuple[str, ...] = ()) -> None:
        """`extra` are further words of every peer's command line."""
        self.root = root
        self.extra = extra
        self.peers: dict[str, PeerProcess] = {}
        self.config: dict[str, Any] = {}
        """Further settings in the config file of every peer that is added."""

    def add(
        self, name: str, join: PeerProcess | None = None, proxies: list[dict[str, str]] | None = None
    ) -> PeerProcess:
        peer = PeerProcess(name, self.root, proxies)
        peer.config.write_text(json.dumps({"proxies": proxies or [], **self.config}))
        self.peers[name] = peer
        return peer.start(None if join is None else join.api, self.extra)

    def start(self, count: int, proxies: Callable[[str], list[dict[str, str]]] = lambda name: []) -> Cluster:
        """`count` peers named node-1, node-2, …; returns when all are ready and registered."""
        first: PeerProcess | None = None
        for number in range(1, count + 1):
            name = f"node-{number}"
            peer = self.add(name, first, proxies(name))
            if first is None:
                first = peer
                wait_until(peer.ready, 20, f"{name} ready\n{peer.output()}")
        self.wait_ready()
        return self

    def __getitem__(self, name: str) -> PeerProcess:
        return self.peers[name]

    def running(self) -> list[PeerProcess]:
        return [peer for peer in self.peers.values() if peer.process is not None and peer.process.poll() is None]

    def wait_ready(self, seconds: float = 30) -> None:
        """Until every running peer is ready and the registry shows each of them active."""

        def all_ready() -> bool:
            peers = self.running()
            if not all(peer.ready() for peer in peers):
                return False
            for peer in peers:
                nodes = {node["name"]: node["status"] for node in peer.get("/api/v1/nodes")["nodes"]}
                if any(nodes.get(other.name) != "active" for other in peers):
                    return False
            return True

        try:
            wait_until(all_ready, seconds, "all peers ready")
        except AssertionError as error:
            logs = "\n".join(f"--- {peer.name}\n{peer.output()[-3000:]}" for peer in self.peers.values())
            raise AssertionError(f"{error}\n{logs}") from None

    def leader(self, seconds: float = 15, among: list[PeerProcess] | None = None) -> PeerProcess:
        """The peer that the others agree leads."""

        def agreed() -> PeerProcess | None:
            peers = among or self.running()
            names = set()
            for peer in peers:
                names.add(peer.status()["leader"])
            if len(names) == 1:
                name = names.pop()
                if name in self.peers and self.peers[name] in peers:
                    return self.peers[name]
            return None

        found: PeerProcess = wait_until(agreed, seconds, "one leader that all agree on")
        return found

    def submit(self, document: dict[str, Any], peer: PeerProcess | None = None, **more: Any) -> str:
        """Submit through `peer` (or any running one); the task's id."""
        chosen = peer or self.running()[0]
        return str(chosen.post("/api/v1/tasks", {"document": document, **more})["id"])

    def wait_task(self, task: str, seconds: float, peer: PeerProcess | None = None) -> dict[str, Any]:
        """The task once it has ended."""
        final = {"completed", "failed", "aborted", "cancelled", "halted", "recoveryFailed"}

        def ended() -> dict[str, Any] | None:
            view: dict[str, Any] = (peer or self.running()[0]).get(f"/api/v1/tasks/{task}")
            return view if view["status"] in final else None

        found: dict[str, Any] = wait_until(ended, seconds, f"task {task} ended", 0.1)
        return found

    def end(self) -> None:
        for peer in self.peers.values():
            peer.end()


class Upstream:
    """A real HTTP server that records when each request reached it."""

    def __init__(self, port: int = 0) -> None:
        self.arrivals: list[tuple[float, str]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.arrivals.append((time.monotonic(), self.path))
                body = b"hello from upstream"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def gaps(self, path: str, at_least: float = 0.6) -> list[tuple[float, float]]:
        """When no request for `path` arrived for that many seconds: (last before, first after)."""
        times = [at for at, asked in list(self.arrivals) if asked == path]
        return [(a, b) for a, b in itertools.pairwise(times) if b - a >= at_least]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


class Sampler:
    """Asks for one path through one proxy again and again; keeps (start, seconds, status or error) of each request."""

    def __init__(self, port: int, path: str = "/", interval: float = 0.05) -> None:
        self.port, self.path, self.interval = port, path, interval
        self.samples: list[tuple[float, float, int | str]] = []
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.samples.append(probe(self.port, self.path))
            self._stop.wait(self.interval)

    def close(self) -> None:
        self._stop.set()
        self.thread.join(10)

    def slow(self, at_least: float) -> list[float]:
        """The start times of the requests that took at least this many seconds."""
        return [start for start, seconds, _ in self.samples if seconds >= at_least]


def probe(port: int, path: str = "/", timeout: float = 5.0) -> tuple[float, float, int | str]:
    """One request on a connection of its own: (start, seconds, status or the error's name)."""
    start = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    result: int | str
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        result = answer.status
    except (OSError, http.client.HTTPException) as error:
        result = type(error).__name__
    finally:
        connection.close()
    return start, time.monotonic() - start, result


class Shop:
    """A cluster in which every node has a proxy `web` in front of one upstream, and steady traffic through each.

    Requests through the proxy of a node ask for the path "/" and its name, so the upstream can tell them apart.
    """

    def __init__(self, cluster: Cluster, upstream: Upstream) -> None:
        self.cluster, self.upstream = cluster, upstream
        self.ports: dict[str, int] = {}
        self.samplers: dict[str, Sampler] = {}

    def proxies(self, name: str) -> list[dict[str, str]]:
        """The configuration of a node's proxies."""
        port = self.ports.setdefault(name, free_port())
        return [{"name": "web", "listen": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{self.upstream.port}"}]

    def start(self, count: int) -> Shop:
        self.cluster.start(count, self.proxies)
        for name, port in self.ports.items():
            self.samplers[name] = Sampler(port, f"/{name}")
        return self

    def gaps(self, name: str) -> list[tuple[float, float]]:
        """When the upstream saw nothing from this node's proxy, because that answered otherwise meanwhile: not because
        the whole machine stood still."""
        bad = [at for at, _, result in list(self.samplers[name].samples) if result != 200]
        return [gap for gap in self.upstream.gaps(f"/{name}") if any(gap[0] <= at <= gap[1] for at in bad)]

    def clean(self, name: str) -> bool:
        """Whether a request through the node's proxy is answered at once and well."""
        _, seconds, result = probe(self.ports[name], f"/{name}")
        return result == 200 and seconds < 0.5

    def wait_clean(self, seconds: float = 10) -> None:
        """Until every proxy relays as if nothing had been."""
        self.wait_clean_of(*self.ports, seconds=seconds)

    def wait_clean_of(self, *names: str, seconds: float = 10) -> None:
        """Until the proxies of these nodes relay as if nothing had been."""
        for name in names:
            wait_until(lambda name=name: self.clean(name), seconds, f"the proxy of {name} relays again")

    def close(self) -> None:
        for sampler in self.samplers.values():
            sampler.close()


def orchestration(
    mode: str, steps: list[dict[str, Any]], targets: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """A document as a program writes it."""
    body: dict[str, Any] = {"coordinationMode": mode, "steps": steps, **spec}
    if targets is not None:
        body["targetNodes"] = targets
    return {
        "apiVersion": "raftchaos.io/v1",
        "kind": "ChaosOrchestration",
        "metadata": {"name": f"test-{mode.lower()}"},
        "spec": body,
    }


def outage(name: str, seconds: float, **more: Any) -> dict[str, Any]:
    """A step in which the proxy answers every request itself, so that the upstream sees nothing."""
    return {
        "name": name,
        "scenario": "http_error",
        "durationSeconds": seconds,
        "parameters": {"proxy": "web", "statusCode": 503},
        **more,
    }


def injections(cluster: Cluster) -> dict[str, int]:
    """How often each run was injected, by run id, summed over the `injected` lines of all peers' output."""
    found: dict[str, int] = {}
    for peer in cluster.peers.values():
        for line in peer.output().splitlines():
            if " injected run=" in line:
                run = line.split(" injected run=")[1].split()[0]
                found[run] = found.get(run, 0) + 1
    return found

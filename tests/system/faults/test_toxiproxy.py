"""What toxics set over toxiproxy's API do to connections, by the client's own clock."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator

import pytest

from tests.system.faults.toxiproxy_world import (
    Toxiproxy,
    ask,
    connect,
    hangs_up,
    receive,
    refuses,
    relays,
    timed,
    wait_until,
)
from tests.system.harness import Cluster, call, free_port


@pytest.fixture
def api(cluster: Cluster) -> Iterator[Toxiproxy]:
    made = Toxiproxy(cluster)
    yield made
    made.close()


def test_each_toxic_does_what_its_clients_expect(api: Toxiproxy) -> None:
    """One peer bears them all: a start takes longer than a toxic."""
    api.start()
    for check in (
        latency,
        both_streams,
        several_of_one_type,
        bandwidth,
        slow_close,
        timeout,
        reset_peer,
        slicer,
        limit_data,
        toxicity,
        disabled,
        moved,
        beside_the_command_line,
    ):
        name = check.__name__
        check(api, name, api.create(name))
    received = [line for line in str(api.call("GET", "/metrics")).splitlines() if 'proxy="latency"' in line]
    assert len(received) == 4
    assert all(int(line.rpartition(" ")[2]) > 0 for line in received)
    assert api.call("POST", "/reset") == ""
    assert all(one["enabled"] and not one["toxics"] for one in api.call("GET", "/proxies").values())


def latency(api: Toxiproxy, name: str, port: int) -> None:
    with connect(port) as sock:
        assert timed(lambda: ask(sock)) < 0.3
        api.add(name, "latency", latency=600)
        assert 0.6 <= timed(lambda: ask(sock)) < 1.8
        api.call("PATCH", f"/proxies/{name}/toxics/latency_downstream", {"attributes": {"latency": 900}})
        assert 0.9 <= timed(lambda: ask(sock)) < 2.7
        api.call("DELETE", f"/proxies/{name}/toxics/latency_downstream")
        assert timed(lambda: ask(sock)) < 0.3


def both_streams(api: Toxiproxy, name: str, port: int) -> None:
    for stream in ("upstream", "downstream"):
        api.add(name, "latency", stream=stream, latency=300)
    with connect(port) as sock:
        assert 0.6 <= timed(lambda: ask(sock)) < 1.8


def several_of_one_type(api: Toxiproxy, name: str, port: int) -> None:
    for number in range(3):
        api.add(name, "latency", name=f"slow {number}", latency=200)
    with connect(port) as sock:
        assert 0.6 <= timed(lambda: ask(sock)) < 1.8
        api.call("DELETE", f"/proxies/{name}/toxics/slow%201")
        assert 0.4 <= timed(lambda: ask(sock)) < 0.6 * 3


def bandwidth(api: Toxiproxy, name: str, port: int) -> None:
    api.add(name, "bandwidth", rate=1000)  # a megabyte a second
    with connect(port) as sock:
        assert 0.8 <= timed(lambda: (sock.sendall(b"n"), receive(sock, 1_000_000))) < 3
        api.call("PATCH", f"/proxies/{name}/toxics/bandwidth_downstream", {"attributes": {"rate": 0}})
        sock.sendall(b"\x00")
        sock.settimeout(0.6)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        api.call("DELETE", f"/proxies/{name}/toxics/bandwidth_downstream")
        sock.settimeout(5)
        assert sock.recv(1) == b"\x00", "nothing is lost"


def slow_close(api: Toxiproxy, name: str, port: int) -> None:
    api.add(name, "slow_close", delay=700)
    with connect(port) as sock:
        assert timed(lambda: ask(sock)) < 0.5
        sock.shutdown(socket.SHUT_WR)
        assert 0.7 <= timed(lambda: sock.recv(1)) < 2.1


def timeout(api: Toxiproxy, name: str, port: int) -> None:
    api.add(name, "timeout", timeout=700)
    with connect(port) as sock:
        sock.sendall(b"\x00")
        assert 0.5 <= timed(lambda: hangs_up(sock)) < 2.1
    api.call("PATCH", f"/proxies/{name}/toxics/timeout_downstream", {"attributes": {"timeout": 0}})
    with connect(port) as sock:
        sock.sendall(b"\x00")
        api.call(
            "PATCH", f"/proxies/{name}/toxics/timeout_downstream", {"toxicity": 1, "attributes": {"timeout": 60_000}}
        )
        assert not hangs_up(sock, 0.5), "a change closes nothing"
        api.call("DELETE", f"/proxies/{name}/toxics/timeout_downstream")
        assert hangs_up(sock), "the end of it closes its connections"
    assert relays(port)


def reset_peer(api: Toxiproxy, name: str, port: int) -> None:
    api.add(name, "reset_peer", timeout=300)
    with connect(port) as sock:
        assert not hangs_up(sock, 0.8), "it waits for the first byte"
        sock.settimeout(5)
        sock.sendall(b"\x00")
        begin = time.monotonic()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert 0.3 <= time.monotonic() - begin < 0.9


def slicer(api: Toxiproxy, name: str, port: int) -> None:
    api.add(name, "slicer", average_size=100, size_variation=50, delay=20_000)
    with connect(port) as sock:
        sock.sendall(b"\x00" * 1000)
        pieces: list[tuple[float, bytes]] = []
        while sum(len(data) for _, data in pieces) < 1000:
            pieces.append((time.monotonic(), sock.recv(65536)))
    assert len(pieces) >= 5
    assert pieces[-1][0] - pieces[0][0] > 0.06, "20 ms before each, said in microseconds"
    assert all(first <= second for (first, _), (second, _) in itertools.pairwise(pieces))


def limit_data(api: Toxiproxy, name: str, port: int) -> None:
    api.add(name, "limit_data", bytes=1500)
    with connect(port) as sock:
        assert ask(sock, b"\x00" * 1000) == b"\x00" * 1000
        assert ask(sock, b"\x00" * 1000) == b"\x00" * 500


def toxicity(api: Toxiproxy, name: str, port: int) -> None:
    api.add(name, "reset_peer", toxicity=0.5)
    served = sum(relays(port) for _ in range(40))
    assert 4 <= served <= 36


def disabled(api: Toxiproxy, name: str, port: int) -> None:
    with connect(port) as sock:
        ask(sock)
        assert api.call("POST", f"/proxies/{name}", {"enabled": False})["enabled"] is False
        assert hangs_up(sock)
    assert refuses(port)
    api.add(name, "latency", latency=300)
    assert refuses(port)
    assert api.call("POST", f"/proxies/{name}", {"enabled": True})["listen"] == f"127.0.0.1:{port}"
    assert not relays(port, 0.25), "a toxic stays meanwhile"
    api.call("DELETE", f"/proxies/{name}/toxics/latency_downstream")
    assert relays(port)
    off = api.create("off", enabled=False)
    assert refuses(off)


def moved(api: Toxiproxy, name: str, port: int) -> None:
    api.add(name, "latency", latency=400)
    with connect(port) as sock:
        ask(sock)
        new = free_port()
        changed = api.call("PATCH", f"/proxies/{name}", {"listen": f"localhost:{new}"})
        assert (changed["listen"], len(changed["toxics"])) == (f"127.0.0.1:{new}", 1)
        assert hangs_up(sock)
    assert refuses(port)
    with connect(new) as sock:
        assert 0.4 <= timed(lambda: ask(sock)) < 1.2, "its toxic is on there too"
    gone = f"127.0.0.1:{free_port()}"
    assert api.call("PATCH", f"/proxies/{name}", {"upstream": gone})["upstream"] == gone
    assert not relays(new, 2)


def beside_the_command_line(api: Toxiproxy, name: str, port: int) -> None:
    """The proxies are those of the node; what is set is seen, and holds the proxy, but is no task."""
    peer = api.cluster["node-1"]
    peer.post("/api/v1/proxies", {"name": "by-hand", "listen": "127.0.0.1:0", "upstream": api.upstream})
    assert api.call("GET", "/proxies/by-hand")["enabled"] is True
    assert name in [one["name"] for one in peer.get("/api/v1/proxies")["proxies"]]
    api.add(name, "latency", latency=100)
    wait_until(lambda: not relays(port, 0.1), 5, "it is on")
    seen = [one for one in peer.get("/api/v1/faults/active")["faults"] if one["target"] == f"proxy:{name}"]
    assert [(one["fault"], one["origin"], one["journal"], one["mark"]) for one in seen] == [
        ("latency", "toxiproxy", True, "")
    ]
    assert seen[0]["effect"]["touched"] >= 1
    with pytest.raises(Exception, match="raftchaos fault list"):
        call(peer.api, "DELETE", f"/api/v1/proxies/{name}")
    assert peer.get("/api/v1/tasks")["tasks"] == []


def test_the_errors_are_those_of_toxiproxy(api: Toxiproxy) -> None:
    api.start()
    api.create("web")
    assert api.refusal("POST", "/proxies", {"upstream": "127.0.0.1:1"}) == (400, "missing required field: name")
    assert api.refusal("POST", "/proxies", {"name": "web", "upstream": "a:1"}) == (409, "proxy already exists")
    assert api.refusal("GET", "/proxies/none") == (404, "proxy not found")
    assert api.refusal("GET", "/proxies/web/toxics/none") == (404, "toxic not found")
    assert api.refusal("POST", "/proxies/web/toxics", {"type": "x"}) == (400, "invalid toxic type")
    assert api.refusal("POST", "/proxies/web/toxics", {"type": "latency", "stream": "x"}) == (
        400,
        "stream was invalid, can be either upstream or downstream",
    )

"""Who is refused by real peers: wrong clocks, wrong names, wrong CAs, wrong ways to speak, pages of other sites."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftchaos.consensus import codec
from raftchaos.consensus.handshake import SIZE, Identity
from raftchaos.files import read_record
from raftchaos.identity.certificates import validity
from raftchaos.identity.local import socket_of
from tests.system.harness import Cluster, PeerProcess, wait_until
from tests.system.security.test_certificates import authorities, certificate, curl
from tests.system.security.test_joining import join_token
from tests.system.torture.machines import build_wall_clock

HOUR = 3600


@pytest.fixture
def clock(
    tmp_path: Path, require: Callable[[bool, str], None], monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], None]:
    """Sets the wall clock of the peers that are started from now on off by so many seconds."""
    require(shutil.which("cc") is not None, "a C compiler")
    library = build_wall_clock(tmp_path)

    def set_off(seconds: int) -> None:
        offset = tmp_path / f"offset{seconds}"
        offset.write_bytes(struct.pack("<q", seconds))
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("WALL_CLOCK_OFFSET", str(offset))

    return set_off


def shown(seconds: float) -> tuple[str, ...]:
    """How a message may write the time in so many seconds: the minute may have just changed."""
    now = time.time() + seconds
    return tuple(time.strftime("%Y-%m-%dT%H:%M", time.gmtime(at)) for at in (now - 60, now))


def test_a_joiner_whose_clock_is_an_hour_behind_is_told_so(
    cluster: Cluster, clock: Callable[[int], None], tmp_path: Path
) -> None:
    founder = cluster.start(1)["node-1"]
    wait_until(lambda: founder.get("/api/v1/authority")["authorities"], 10, "the cluster knows its CA")
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(join_token(founder))
    clock(-HOUR)
    late = cluster.peers["node-2"] = PeerProcess("node-2", cluster.root)
    late.start(founder.api, ("--token-file", str(token)))
    assert late.wait_exit(30) == 3, late.output()
    assert "compare the clocks" in late.output()
    assert any(minute in late.output() for minute in shown(-HOUR)), late.output()


def test_a_member_whose_clock_is_an_hour_behind_names_the_clock_and_comes_back_once_it_is_right(
    cluster: Cluster, clock: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.start(3)
    late = cluster["node-3"]
    assert late.stop() == 0
    clock(-HOUR)
    late.start()

    def told() -> bool:
        said = late.output()
        return "not valid yet by the clock of this machine" in said and any(minute in said for minute in shown(-HOUR))

    wait_until(told, 30, "it says what its clock says of the others' certificates")
    assert not late.ready()
    late.stop()
    monkeypatch.undo()
    late.start()
    cluster.wait_ready(40)


def test_a_member_that_signs_by_a_clock_an_hour_ahead_is_refused_by_the_others_who_name_theirs(
    cluster: Cluster, clock: Callable[[int], None]
) -> None:
    cluster.config = {"certificate-seconds": HOUR}
    cluster.start(3)
    hasty = cluster["node-3"]
    wait_until(lambda: list((hasty.data / "identity").glob("authority-*.key")), 20, "it has the key of the CA")
    assert hasty.stop() == 0
    clock(HOUR)
    hasty.start()  # its certificate has ended by its clock, so it signs itself one
    others = [cluster["node-1"], cluster["node-2"]]

    def told() -> bool:
        said = "".join(peer.output() for peer in others)
        return "not valid yet by the clock of this machine" in said and any(minute in said for minute in shown(0))

    wait_until(told, 30, "the others say what their clock says")
    cluster.leader(among=others).post("/api/v1/nodes/node-1/undrain")


def raft_hello(to: PeerProcess, context: ssl.SSLContext, me: Identity) -> Any:
    """What the Raft port of a peer answers to somebody who says that it is `me`; None if it just closes."""
    with (
        socket.create_connection(("127.0.0.1", to.raft), timeout=10) as raw,
        context.wrap_socket(raw) as secure,
    ):
        secure.sendall(me.hello(to.name))
        try:
            stream = secure.makefile("rb")
            head = stream.read(SIZE.size)
            return codec.loads(stream.read(SIZE.unpack(head)[0])) if len(head) == SIZE.size else None
        except (ConnectionError, ssl.SSLError):
            return None


def raft_context(trusted: Path, chain: Path) -> ssl.SSLContext:
    """That of a peer with this certificate."""
    context = ssl.create_default_context(cafile=str(trusted))
    context.check_hostname = False
    context.load_cert_chain(chain)
    return context


def test_a_member_cannot_speak_as_another_one(cluster: Cluster) -> None:
    cluster.start(3)
    first, second, third = (cluster[f"node-{number}"] for number in (1, 2, 3))
    trusted = authorities(first, cluster.root / "ca.pem")
    context = raft_context(trusted, second.data / "identity" / "peer.pem")
    theirs = read_record(third.data / "identity.msgpack")
    lies = {
        "its name": ("node-3", read_record(second.data / "identity.msgpack")["directory"]),
        "its name and its data directory": ("node-3", theirs["directory"]),
        "a data directory that is not its own": ("node-2", theirs["directory"]),
    }
    for lie, (name, directory) in lies.items():
        me = Identity(theirs["cluster"], name, directory, 99, f"127.0.0.1:{second.raft}")
        answer = raft_hello(first, context, me)
        assert answer["type"] == "refused", (lie, answer)
        assert "certificate" in answer["reason"], (lie, answer)
    honest = third.status()
    assert honest["leader"], "nobody was thrown out for it"
    first.post("/api/v1/nodes/node-1/undrain")


def test_certificates_of_another_cluster_open_neither_port(cluster: Cluster, tmp_path: Path) -> None:
    peer = cluster.start(1)["node-1"]
    trusted = authorities(peer, cluster.root / "ca.pem")
    (tmp_path / "other").mkdir()
    other = cluster.peers["other"] = PeerProcess("node-1", tmp_path / "other")
    other.start()
    wait_until(other.ready, 20, "the other cluster stands")
    foreign = other.data / "identity" / "peer.pem"
    status, said = curl(peer, trusted, "--cert", str(foreign), path="/api/v1/status")
    assert status in (0, 401), said
    assert "node-1" not in said
    theirs = read_record(peer.data / "identity.msgpack")
    me = Identity(theirs["cluster"], "node-9", theirs["directory"], 99, "127.0.0.1:1")
    assert raft_hello(peer, raft_context(trusted, foreign), me) is None
    wait_until(lambda: "CA that is not trusted here" in peer.output(), 10, "the peer tells why")
    assert peer.ready()


def test_an_ended_certificate_and_an_ended_token_open_nothing(cluster: Cluster) -> None:
    cluster.config = {"certificate-seconds": 6}
    peer = cluster.start(1)["node-1"]
    trusted = authorities(peer, cluster.root / "ca.pem")
    ended = cluster.root / "ended.pem"
    shutil.copy(peer.data / "identity" / "peer.pem", ended)
    ends = validity(certificate(peer)).ends
    made = peer.post("/api/v1/tokens", {"name": "ci", "role": "viewer", "seconds": 2})
    header = f"Authorization: Bearer {made['token'].partition('@')[0]}"
    assert curl(peer, trusted, "--cert", str(ended), path="/api/v1/status")[0] == 200
    wait_until(lambda: curl(peer, trusted, "-H", header, path="/api/v1/status")[0] == 401, 10, "the token has ended")
    wait_until(lambda: time.time() > ends + 1, 15, "the certificate has ended")
    status, said = curl(peer, trusted, "--cert", str(ended), path="/api/v1/status")
    assert status in (0, 401), said
    assert curl(peer, trusted)[0] == 200, "the peer itself has a new one"


@pytest.mark.parametrize(
    "words",
    [
        ("-H", "Host: evil.example"),
        ("-H", "Origin: https://evil.example"),
        ("-H", "Origin: null"),
        ("-X", "POST", "-H", "Host: evil.example", "-H", "Content-Type: application/json", "-d", "{}"),
    ],
)
def test_pages_of_other_sites_are_refused_even_with_a_good_token(
    cluster: Cluster, words: tuple[str, ...], require: Callable[[bool, str], None]
) -> None:
    require(shutil.which("curl") is not None, "curl")
    peer = cluster.start(1)["node-1"]
    trusted = authorities(peer, cluster.root / "ca.pem")
    token = peer.post("/api/v1/tokens", {"name": "ci", "role": "admin"})["token"].partition("@")[0]
    header = ("-H", f"Authorization: Bearer {token}")
    path = "/api/v1/halt" if "POST" in words else "/api/v1/status"
    status, body = curl(peer, trusted, *header, *words, path=path)
    assert status == 403, body
    assert token not in body
    assert not peer.status()["halted"]
    path_of_socket = str(socket_of(f"127.0.0.1:{peer.api}"))
    local = ["curl", "-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", path_of_socket]
    url = f"http://127.0.0.1:{peer.api}{path}"
    done = subprocess.run([*local, *words, url], capture_output=True, text=True, timeout=20)
    assert done.stdout == "403", "the socket of the local user asks the same"


def test_a_member_that_is_started_insecurely_finds_no_secure_one_and_the_other_way_round(cluster: Cluster) -> None:
    cluster.start(2)
    first, second = cluster["node-1"], cluster["node-2"]
    assert second.stop() == 0
    second.start(extra=("--insecure",))
    wait_until(lambda: "it does not speak TLS" in first.output(), 20, "the secure one says what the other one lacks")
    wait_until(lambda: second.get("/healthz"), 20, "it is there")
    assert not second.ready()
    second.stop()
    second.start()
    cluster.wait_ready(40)


def test_the_socket_that_a_killed_peer_has_left_is_replaced(cluster: Cluster) -> None:
    peer = cluster.start(1)["node-1"]
    path = socket_of(f"127.0.0.1:{peer.api}")
    assert path is not None
    peer.kill()
    assert path.is_socket(), "nobody was there to take it away"
    peer.start()
    wait_until(peer.ready, 20, "it answers at its socket")
    assert path.stat().st_mode & 0o777 == 0o600
    assert peer.stop() == 0
    assert not os.path.lexists(path)


class Unlucky(PeerProcess):
    """A peer to whose only folder for its socket others have access."""

    def command(self, join: int | None = None, extra: tuple[str, ...] = ()) -> list[str]:
        words = super().command(join, extra)
        folder = self.root / "taken"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        program = (
            "import pathlib; from raftchaos.identity import local; from raftchaos.cli.main import main; "
            f"local._folders = lambda: [pathlib.Path({str(folder)!r})]; main()"
        )
        return [words[0], "-c", program, *words[3:]]


def test_another_user_who_takes_the_name_of_the_sockets_folder_keeps_no_peer_from_starting(cluster: Cluster) -> None:
    peer = cluster.peers["node-1"] = Unlucky("node-1", cluster.root)
    peer.start()
    wait_until(lambda: "the user of this peer has no socket" in peer.output(), 20, "it says so")
    assert "with the mode 700" in peer.output()
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE

    def ready() -> bool:
        connection = http.client.HTTPSConnection("127.0.0.1", peer.api, timeout=5, context=trust)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    wait_until(ready, 20, "it serves its port")
    assert peer.stop() == 0, peer.output()
    assert not list((cluster.root / "taken").iterdir())

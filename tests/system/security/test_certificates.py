"""Certificates of real peers: renewed while the leader is killed, ended, stolen, replaced, seen from outside."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from raftchaos.identity.certificates import split, validity
from tests.system.harness import ApiError, Cluster, PeerProcess, wait_until
from tests.system.security.test_joining import join_token


def short_lived(cluster: Cluster, count: int, seconds: float) -> Cluster:
    """A cluster whose certificates are valid for seconds instead of days."""
    cluster.config = {"certificate-seconds": seconds}
    return cluster.start(count)


def certificate(peer: PeerProcess) -> x509.Certificate:
    """The peer's present one."""
    return split((peer.data / "identity" / "peer.pem").read_bytes())[0]


def authorities(peer: PeerProcess, file: Path) -> Path:
    """The trusted CAs as a file."""
    found = wait_until(lambda: peer.get("/api/v1/authority")["authorities"], 15, "the CA is known")
    file.write_text("".join(one["certificate"] for one in found))
    return file


def test_certificates_are_renewed_while_the_leader_is_killed(cluster: Cluster) -> None:
    short_lived(cluster, 3, 20)
    before = {peer.name: certificate(peer).serial_number for peer in cluster.running()}
    leader = cluster.leader()
    leader.kill()
    others = cluster.running()
    wait_until(lambda: all(certificate(peer).serial_number != before[peer.name] for peer in others), 40, "renewed")
    cluster.leader(among=others)
    others[0].post("/api/v1/nodes/node-1/drain")
    leader.start()
    cluster.wait_ready(60)
    assert validity(certificate(leader)).ends > time.time()


def test_a_cluster_whose_certificates_all_ended_starts_again(cluster: Cluster) -> None:
    short_lived(cluster, 3, 4)
    for peer in cluster.running():
        peer.kill()
    wait_until(
        lambda: all(validity(certificate(peer)).ends < time.time() for peer in cluster.peers.values()), 15, "ended"
    )
    for peer in cluster.peers.values():
        peer.start()
    cluster.wait_ready(60)
    cluster["node-1"].post("/api/v1/nodes/node-1/drain")


def test_an_observer_whose_certificate_ended_comes_back_with_a_token_and_its_key(cluster: Cluster) -> None:
    founder = short_lived(cluster, 1, 6)["node-1"]
    words = ("--observer",)
    observer = cluster.peers["node-2"] = PeerProcess("node-2", cluster.root)
    observer.start(founder.api, words)
    wait_until(observer.ready, 30, "the observer is ready")
    key = certificate(observer).public_key()
    observer.kill()
    wait_until(lambda: validity(certificate(observer)).ends < time.time(), 15, "ended")
    observer.start(extra=words)
    assert observer.wait_exit(20) == 5
    assert "--join HOST:PORT and a join token" in observer.output()
    token = cluster.root / "token"
    token.touch(mode=0o600)
    token.write_text(join_token(founder))
    observer.start(founder.api, (*words, "--token-file", str(token)))
    wait_until(observer.ready, 30, "the observer is back")
    assert certificate(observer).public_key() == key


def test_the_ca_is_replaced_while_the_cluster_works(cluster: Cluster) -> None:
    cluster.start(3)
    peer = cluster["node-2"]
    old = peer.get("/api/v1/authority")["authorities"][0]["fingerprint"]
    wait_until(
        lambda: all(list((one.data / "identity").glob("authority-*.key")) for one in cluster.running()), 20, "keys"
    )
    new = peer.post("/api/v1/authority/rotate")["fingerprint"]

    def done() -> bool:
        found = [one.get("/api/v1/authority") for one in cluster.running()]
        return all([each["fingerprint"] for each in one["authorities"]] == [new] for one in found)

    wait_until(done, 40, "the old CA is trusted no more")
    assert old != new
    peer.post("/api/v1/nodes/node-1/drain")
    third = cluster["node-3"]
    third.kill()
    third.start()
    cluster.wait_ready(40)


def test_a_removed_peer_and_a_stolen_key_get_nowhere(cluster: Cluster) -> None:
    cluster.start(3)
    victim, asked = cluster["node-3"], cluster["node-1"]
    trusted = authorities(asked, cluster.root / "ca.pem")
    victim.kill()
    stolen = cluster.root / "stolen.pem"
    shutil.copy(victim.data / "identity" / "peer.pem", stolen)
    assert curl(asked, trusted, "--cert", str(stolen), path="/api/v1/status")[0] == 200
    asked.delete("/api/v1/nodes/node-3", timeout=30)
    for peer in (asked, cluster["node-2"]):
        wait_until(
            lambda peer=peer: curl(peer, trusted, "--cert", str(stolen), path="/api/v1/status")[0] == 401, 5, "401"
        )
    victim.start()
    assert victim.wait_exit(40) == 5
    assert "removed" in victim.output()
    assert {node["name"] for node in asked.get("/api/v1/nodes")["nodes"]} == {"node-1", "node-2"}


def test_keys_that_others_may_read_are_refused_with_what_to_type(cluster: Cluster) -> None:
    peer = cluster.start(1)["node-1"]
    peer.kill()
    key = peer.data / "identity" / "peer.pem"
    key.chmod(0o644)
    peer.start()
    assert peer.wait_exit(20) == 5
    assert f"chmod 600 {key}" in peer.output()
    key.chmod(0o600)
    peer.start()
    wait_until(peer.ready, 20, "it starts once the key is private")


def curl(peer: PeerProcess, trusted: Path, *words: str, path: str = "/healthz") -> tuple[int, str]:
    """Status and answer, as curl sees it; the status is 0 if there is none."""
    url = f"https://127.0.0.1:{peer.api}{path}"
    command = ["curl", "-sS", "-m", "10", "-w", "\n%{http_code}", "--cacert", str(trusted), *words, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body + done.stderr


def test_curl_and_openssl_see_tls_13_only_and_the_right_chain(
    cluster: Cluster, require: Callable[[bool, str], None]
) -> None:
    require(shutil.which("curl") is not None and shutil.which("openssl") is not None, "curl and openssl")
    peer = cluster.start(1)["node-1"]
    trusted = authorities(peer, cluster.root / "ca.pem")
    status, body = curl(peer, trusted)
    assert (status, json.loads(body)) == (200, {"live": True, "ready": True})
    for port in (peer.api, peer.raft):
        words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(trusted)]
        shown = subprocess.run(words, capture_output=True, text=True, input="", timeout=20).stdout
        assert "TLSv1.3" in shown
        assert "Verify return code: 0 (ok)" in shown
        old = subprocess.run([*words, "-tls1_2"], capture_output=True, text=True, input="", timeout=20)
        assert "Cipher is (NONE)" in old.stdout


def test_a_plain_client_on_a_tls_port_and_the_other_way_round(cluster: Cluster) -> None:
    peer = cluster.start(1)["node-1"]
    with socket.create_connection(("127.0.0.1", peer.api), timeout=10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP/1.1 200" not in plain.recv(100)
    trusted = authorities(peer, cluster.root / "ca.pem")
    peer.stop()
    peer.start(extra=("--insecure",))
    wait_until(peer.ready, 20, "it runs insecurely")
    assert curl(peer, trusted)[0] == 0
    assert peer.status()["insecure"] is True
    assert "raftchaos_insecure 1" in peer.get("/metrics")
    assert "--insecure: whoever reaches" in peer.output()


@pytest.mark.parametrize("port", ["api", "raft"])
def test_a_thousand_half_handshakes_hold_nothing_up(cluster: Cluster, port: str) -> None:
    cluster.start(3)
    leader = cluster.leader()
    term = leader.status()["term"]
    silent: list[socket.socket] = []
    for _ in range(1_000):
        half = socket.create_connection(("127.0.0.1", getattr(leader, port)), timeout=10)
        half.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        silent.append(half)
    leader.post("/api/v1/nodes/node-1/drain")
    trusted = authorities(leader, cluster.root / "ca.pem")
    context = ssl.create_default_context(cafile=str(trusted))
    with (
        socket.create_connection(("127.0.0.1", leader.api), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as secure,
    ):
        assert secure.version() == "TLSv1.3"
    assert cluster.leader().status()["term"] == term
    for half in silent:
        half.close()


def test_a_viewer_that_submits_is_refused(cluster: Cluster) -> None:
    peer = cluster.start(1)["node-1"]
    trusted = authorities(peer, cluster.root / "ca.pem")
    token = peer.post("/api/v1/tokens", {"name": "ci", "role": "viewer"})["token"]
    header = f"Authorization: Bearer {token}"
    assert curl(peer, trusted, "-H", header, path="/api/v1/status")[0] == 200
    submit: list[Any] = ["-H", header, "-H", "Content-Type: application/json", "-d", "{}"]
    status, body = curl(peer, trusted, *submit, path="/api/v1/tasks")
    assert status == 403, body
    assert token.partition("@")[0] not in peer.output()
    peer.delete("/api/v1/tokens/ci")
    assert curl(peer, trusted, "-H", header, path="/api/v1/status")[0] == 401
    with pytest.raises(ApiError):
        peer.delete("/api/v1/tokens/ci")

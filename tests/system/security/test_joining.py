"""How real peers come to trust each other: tokens, fingerprints, and who stands in between."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from raftchaos.errors import Conflict, RaftchaosError, Unauthenticated
from raftchaos.identity.certificates import Authority, key_bytes, new_key, request_for, split
from raftchaos.identity.subjects import PEER, Subject, parse
from raftchaos.identity.tokens import JOIN_PREFIX, new_join_token, read_join_token
from raftchaos.launch import free_port
from raftchaos.peer.joining import VARIABLE, ask_with_token
from tests.system.harness import ApiError, Cluster, PeerProcess, wait_until


@pytest.fixture
def founder(cluster: Cluster) -> PeerProcess:
    peer = cluster.start(1)["node-1"]
    wait_until(lambda: peer.get("/api/v1/authority")["authorities"], 10, "the cluster knows its CA")
    return peer


def join_token(peer: PeerProcess, **body: Any) -> str:
    """A new token of this peer's cluster."""
    return str(peer.post("/api/v1/tokens/join", body)["token"])


def join(cluster: Cluster, name: str, port: int, token: str) -> PeerProcess:
    """Starts a peer that joins at this API port with a token."""
    peer = cluster.peers[name] = PeerProcess(name, cluster.root)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = token
    try:
        return peer.start(join=port)
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


def refused(peer: PeerProcess, *words: str) -> None:
    """It ends and says why, without the secret."""
    assert peer.wait_exit(30) == 5, peer.output()
    for word in words:
        assert word in peer.output()
    assert "Traceback" not in peer.output()


def test_the_founder_prints_at_its_terminal_only_how_others_join(cluster: Cluster) -> None:
    peer = cluster.peers["node-1"] = PeerProcess("node-1", cluster.root)
    terminal, inside = pty.openpty()
    with peer.log.open("ab") as log:
        peer.process = subprocess.Popen(peer.command(), stdout=inside, stderr=log, start_new_session=True,
                                        env={**os.environ, "RAFTCHAOS_TEST_PEER": str(peer.data)})  # fmt: skip
    os.close(inside)
    said = b""
    end = time.monotonic() + 30
    while b"another token" not in said and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            said += os.read(terminal, 4096)
    found = re.search(rb"RAFTCHAOS_JOIN_TOKEN=(\S+) raftchaos peer --join (\S+)", said)
    assert found is not None, said
    token = found[1].decode()
    assert read_join_token(token).text == token
    assert JOIN_PREFIX + "." not in peer.output()
    second = join(cluster, "node-2", peer.api, token)
    wait_until(second.ready, 30, "the second peer is ready")
    assert token not in "".join(second.process.args if second.process else [])  # type: ignore[arg-type]

    def hold_none() -> bool:
        """Between its fork and its exec a child shows the environment that its parent was started with."""
        environments = [child.environ() for child in second.children()]
        return len(environments) == 2 and all(VARIABLE not in environment for environment in environments)

    wait_until(hold_none, 10, "proxy and reaper run without the token")
    os.close(terminal)


def test_a_token_is_used_by_one_or_by_many_until_it_ends(cluster: Cluster, founder: PeerProcess) -> None:
    single, many = join_token(founder, single=True), join_token(founder)
    revoked, ended = join_token(founder), join_token(founder, seconds=0.5)
    founder.delete(f"/api/v1/tokens/{read_join_token(revoked).id}")
    for name, token in (("node-2", single), ("node-3", many)):
        wait_until(join(cluster, name, founder.api, token).ready, 40, f"{name} is ready")
    refused(join(cluster, "late-1", founder.api, single), "node-2 has used it", "raftchaos token create --join")
    refused(join(cluster, "late-2", founder.api, revoked), "revoked")
    refused(join(cluster, "late-3", founder.api, ended), "ended")
    nodes = {node["name"] for node in founder.get("/api/v1/nodes")["nodes"]}
    assert nodes == {"node-1", "node-2", "node-3"}
    tokens = founder.get("/api/v1/tokens")
    assert {token["usedBy"] for token in tokens["joinTokens"]} >= {"node-2", "node-3"}
    for token in (single, many, revoked, ended):
        secret = token.split(".")[2]
        assert all(secret not in peer.output() for peer in cluster.peers.values())
        assert secret not in str(tokens)


def test_a_join_token_gets_nobody_the_certificate_of_a_peer(cluster: Cluster, founder: PeerProcess) -> None:
    single = join_token(founder, single=True)
    second = join(cluster, "node-2", founder.api, single)
    wait_until(second.ready, 40, "node-2 is ready")
    for victim in (founder, second):
        certificate = split((victim.data / "identity" / "peer.pem").read_bytes())[0]
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        subject = parse(names.get_values_for_type(x509.UniformResourceIdentifier)[0])
        assert subject is not None
        before = founder.get(f"/api/v1/nodes/{victim.name}")
        body = {"name": victim.name, "directory": subject.id, "raftAddress": "127.0.0.1:1", "apiAddress": "127.0.0.1:2",
                "request": request_for(new_key(), victim.name).decode(), "hosts": []}  # fmt: skip
        for token in (single, join_token(founder)):
            with pytest.raises(RaftchaosError) as error:
                asyncio.run(ask_with_token(f"127.0.0.1:{founder.api}", read_join_token(token), body, now=time.time()))
            assert isinstance(error.value, Conflict | Unauthenticated), error.value
        after = founder.get(f"/api/v1/nodes/{victim.name}")
        assert (after["raftAddress"], after["apiAddress"]) == (before["raftAddress"], before["apiAddress"])


def test_a_wrong_fingerprint_is_told_before_anything_is_said(cluster: Cluster, founder: PeerProcess) -> None:
    good = read_join_token(join_token(founder))
    wrong = new_join_token("0" * 64)
    refused(join(cluster, "node-2", founder.api, wrong.text), "nothing was sent")
    mixed = f"{JOIN_PREFIX}.{good.fingerprint}.{wrong.text.split('.')[2]}"
    refused(join(cluster, "node-3", founder.api, mixed), "the join token is not known")


class Impostor:
    """Between a joiner and its peer: shows a certificate of a CA of its own, or the true CA beside its own
    certificate, and writes down what it is told."""

    def __init__(self, folder: Path, shown: bytes) -> None:
        self.heard = b""
        self.met = 0
        mine = Authority.create("c" * 32, time.time())
        key = new_key()
        subject = Subject("c" * 32, PEER, ("node-1",), "d" * 32)
        chain = mine.sign(request_for(key, "node-1"), subject, hosts=[], now=time.time(), seconds=3600)
        (folder / "impostor.pem").write_bytes(key_bytes(key) + chain + shown)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "impostor.pem")
        self._socket = socket.create_server(("127.0.0.1", free_port()))
        self.port = self._socket.getsockname()[1]
        self._context = context
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            self.met += 1
            try:
                with self._context.wrap_socket(plain, server_side=True) as secure:
                    secure.settimeout(3)
                    self.heard += secure.recv(4096)
            except OSError:
                continue

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.mark.parametrize("shows_the_true_ca", [False, True])
def test_a_man_in_the_middle_hears_nothing(cluster: Cluster, founder: PeerProcess, shows_the_true_ca: bool) -> None:
    true = founder.get("/api/v1/authority")["authorities"][0]["certificate"].encode()
    between = Impostor(cluster.root, true if shows_the_true_ca else b"")
    peer = join(cluster, "node-2", between.port, join_token(founder))
    assert peer.wait_exit(40) in (3, 5), peer.output()
    words = "CA that is not trusted" if shows_the_true_ca else "nothing was sent"
    assert words in peer.output()
    assert between.met
    assert between.heard == b""
    between.close()


def test_a_founder_without_its_data_finds_no_cluster_under_its_members(cluster: Cluster) -> None:
    cluster.start(2)
    first, second = cluster["node-1"], cluster["node-2"]
    first.kill()
    first.data.rename(cluster.root / "lost")
    first.start()
    wait_until(first.ready, 20, "the new cluster stands")
    members = first.status()["quorum"]["voters"]
    assert members == ["node-1"]
    assert first.status()["cluster"] != second.status()["cluster"]
    with pytest.raises(ApiError) as error:
        second.post("/api/v1/nodes/node-2/drain")
    assert error.value.body["code"] == "no-quorum"

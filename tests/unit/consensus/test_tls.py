"""The transport over TLS: a peer speaks as its certificate says and as nobody else; whoever has none gets nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from consensus_support import RealCluster, eventually

from raftchaos import limits
from raftchaos.consensus import handshake
from raftchaos.consensus.config import ReplicaConfig
from raftchaos.consensus.handshake import SIZE, Identity, Refusal
from raftchaos.consensus.node import split_address
from raftchaos.identity.certificates import Authority, pem_of
from raftchaos.identity.tls import Contexts, peer_context, server_context
from tests.unit.identity.issuing import peer_files

CLUSTER = "test-cluster"


class SecureCluster(RealCluster):
    """Peers with certificates of one CA."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.authority = Authority.create(CLUSTER, time.time())
        self.contexts: dict[str, Contexts] = {}

    def files(self, name: str, authority: Authority | None = None, **more: Any) -> tuple[bytes, Path]:
        """A new certificate for this name."""
        more = {"directory": f"directory-of-{name}", **more}
        return peer_files(self.root / f"keys-{name}", authority or self.authority, name, cluster=CLUSTER, **more)

    def config(self, name: str) -> ReplicaConfig:
        self.contexts[name] = Contexts(*self.files(name))
        return dataclasses.replace(super().config(name), tls=self.contexts[name])

    async def hello(self, context: ssl.SSLContext, name: str, directory: str = "") -> tuple[dict[str, Any], Any]:
        """Says to `a` that it is this peer; returns the answer, and what else it said until it closed the connection,
        or None if it did not."""
        reader, writer = await asyncio.open_connection(*split_address(self.addresses["a"]), ssl=context)
        try:
            me = Identity(CLUSTER, name, directory or f"directory-of-{name}", 99, "127.0.0.1:1")
            writer.write(me.hello("a"))
            async with asyncio.timeout(5):
                (size,) = SIZE.unpack(await reader.readexactly(SIZE.size))
                return handshake.codec.loads(await reader.readexactly(size)), None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[SecureCluster]:
    cluster = SecureCluster(tmp_path)
    yield cluster
    await cluster.close()


async def test_a_cluster_forms_and_fails_over_under_tls(secure: SecureCluster) -> None:
    await secure.grow("a", "b", "c")
    leader = await secure.leader()
    await leader.propose("w:1", b"x" * 300_000, timeout=5)
    await secure.stop(leader.name)
    new = await secure.leader()
    assert (await new.propose("w:2", b"y", timeout=5)).result == {"position": 2}
    await secure.restart(leader.name)
    await secure.settled()


async def test_plain_bytes_get_no_answer_from_a_secure_port(
    secure: SecureCluster, caplog: pytest.LogCaptureFixture
) -> None:
    await secure.grow("a", "b")
    reader, writer = await asyncio.open_connection(*split_address(secure.addresses["a"]))
    writer.write(b"\x00\x00\x00\x05hello")
    async with asyncio.timeout(5):
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
    assert b"raft" not in answer
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    assert (await (await secure.leader()).propose("w:1", b"x")).result == {"position": 1}
    assert "does not speak TLS" in caplog.text


async def test_a_peer_cannot_speak_as_another(secure: SecureCluster) -> None:
    await secure.grow("a", "b")
    await secure.stop("b")  # or the true one would be there
    liar = peer_context(*secure.files("c"))
    answer, _ = await secure.hello(liar, "b")
    assert answer["type"] == "refused"
    assert "its certificate is that of c, it says that it is b" in answer["reason"]
    other_directory = peer_context(*secure.files("b", directory="another"))
    answer, _ = await secure.hello(other_directory, "b")
    assert "another data directory" in answer["reason"]
    caller = peer_context(*secure.files("b", kind="admin", directory=""))
    answer, _ = await secure.hello(caller, "b")
    assert "not that of a peer" in answer["reason"]
    answer, _ = await secure.hello(peer_context(*secure.files("b")), "b")
    assert answer["type"] == "hello"


async def test_a_refusal_is_believed_of_the_peer_that_was_called_only(secure: SecureCluster) -> None:
    await secure.grow("a", "b")
    await secure.stop("b")
    told = {"type": "refused", "reason": handshake.NOT_A_MEMBER, "configuration": 2**40}

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(handshake.frame(told))

    host, port = split_address(secure.addresses["b"])
    authorities, chain = secure.files("c")
    liar = await asyncio.start_server(refuse, host, port, ssl=server_context(authorities, chain, required=True))
    refused: dict[str, Refusal] = secure.replicas["a"].raft.transport.refused_by  # type: ignore[attr-defined]
    await eventually(lambda: "b" in refused and "that of c" in refused["b"].why)
    assert refused["b"].configuration == 0
    liar.close()


async def test_a_removed_peer_is_refused_by_its_data_directory(secure: SecureCluster) -> None:
    await secure.grow("a", "b")
    await secure.stop("b")
    files = secure.files("b")
    secure.contexts["a"].revoked = lambda directory: directory == "directory-of-b"
    answer, _ = await secure.hello(peer_context(*files), "b")
    assert answer["reason"] == handshake.NOT_A_MEMBER


async def test_certificates_and_the_ca_are_replaced_while_the_cluster_works(secure: SecureCluster) -> None:
    await secure.grow("a", "b", "c")
    leader = await secure.leader()
    connected = {name: dict(replica.raft.transport._connections) for name, replica in secure.replicas.items()}
    old, new = secure.authority, Authority.create(CLUSTER, time.time())
    both = pem_of(old.certificate) + pem_of(new.certificate)
    for contexts in secure.contexts.values():
        contexts.replace(both)
    for name, contexts in secure.contexts.items():
        secure.files(name, new)
        contexts.replace(both)
    for contexts in secure.contexts.values():
        contexts.replace(pem_of(new.certificate))
    assert (await leader.propose("w:1", b"x", timeout=5)).result == {"position": 1}
    assert connected == {name: dict(replica.raft.transport._connections) for name, replica in secure.replicas.items()}
    with pytest.raises(ssl.SSLCertVerificationError):
        await secure.hello(peer_context(pem_of(old.certificate), secure.files("d", old)[1]), "d")
    secure.authority = new
    stopped = next(name for name in secure.replicas if name != leader.name)
    await secure.stop(stopped)
    await secure.restart(stopped)
    await secure.settled()


async def test_a_clock_that_is_wrong_is_named_on_both_sides(
    secure: SecureCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await secure.grow("a", "b")
    await secure.stop("b")
    secure.contexts["b"] = Contexts(*secure.files("b", now=time.time() + 7200))
    config = dataclasses.replace(RealCluster.config(secure, "b"), tls=secure.contexts["b"])
    secure.config = lambda name: config  # type: ignore[method-assign]
    replica = await secure.restart("b")
    await eventually(lambda: "is not valid yet by the clock of this machine" in caplog.text)
    refused: dict[str, Refusal] = replica.raft.transport.refused_by  # type: ignore[attr-defined]
    await eventually(lambda: "a" in refused and any(word in refused["a"].why for word in ("compare", "its log says")))


async def test_half_a_handshake_is_given_up(secure: SecureCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE", 1.0)
    monkeypatch.setattr(limits, "HANDSHAKES_OPEN", 8)
    await secure.grow("a", "b")
    transport: Any = secure.replicas["a"].raft.transport
    silent = [await asyncio.open_connection(*split_address(secure.addresses["a"])) for _ in range(40)]
    for _, writer in silent:
        writer.write(b"\x16\x03\x01\x02\x00")  # the beginning of a ClientHello, and no more
    await eventually(lambda: transport._entrance.shaking > 0)
    assert transport._entrance.shaking <= 64
    assert (await (await secure.leader()).propose("w:1", b"x", timeout=5)).result == {"position": 1}
    async with asyncio.timeout(10):
        for reader, writer in silent:
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
    assert transport._entrance.shaking == 0
    await secure.settled()

"""The transport over TLS: peers show certificates, and whoever has none gets nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from consensus_support import RealCluster

from raftchaos.consensus.node import split_address


def make_certificate(key: Path, certificate: Path) -> None:
    """One certificate for all peers, which is its own authority."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=DNS:a,DNS:b,DNS:c"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)


@pytest.fixture
async def secure(tmp_path: Path, require: Callable[[bool, str], None]) -> AsyncIterator[RealCluster]:
    require(shutil.which("openssl") is not None, "openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make_certificate(key, certificate)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(certificate))
    for context in (server, client):
        context.load_cert_chain(certificate, key)
    cluster = RealCluster(tmp_path, server_tls=server, client_tls=client)
    yield cluster
    await cluster.close()


async def test_a_cluster_forms_and_fails_over_under_tls(secure: RealCluster) -> None:
    await secure.grow("a", "b", "c")
    leader = await secure.leader()
    await leader.propose("w:1", b"x" * 300_000, timeout=5)
    await secure.stop(leader.name)
    new = await secure.leader()
    assert (await new.propose("w:2", b"y", timeout=5)).result == {"position": 2}
    await secure.restart(leader.name)
    await secure.settled()


async def test_plain_bytes_get_no_answer_from_a_secure_port(secure: RealCluster) -> None:
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

"""Certificates: whom they name, when they are valid, and what signs them."""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from raftchaos.errors import DataCorrupt, MachineUnusable, Refused, Unreachable, UsageError
from raftchaos.identity.certificates import BACKDATED, Authority, new_key, request_for, split, validity
from raftchaos.identity.files import KeyFolder
from raftchaos.identity.joining import authority_of
from raftchaos.identity.subjects import PEER, Subject, misnamed, parse, subject_of
from raftchaos.identity.tls import Contexts, client_context, explain, peer_context
from tests.unit.identity.issuing import CLUSTER, issue, peer_files

NOW = 1_800_000_000.0


def test_a_uri_says_who_holds_a_certificate() -> None:
    peer = Subject(CLUSTER, PEER, ("node-1",), "d1")
    caller = Subject(CLUSTER, "operator", ("ci",), "1" * 16)
    assert parse(peer.uri) == peer
    assert parse(caller.uri) == caller
    for wrong in ("https://x/peer/a/b", "raftchaos://c/peer/a", "raftchaos://c/root/a/b", "raftchaos://c/viewer/a", ""):
        assert parse(wrong) is None


def test_host_names_count_only_where_there_is_no_uri() -> None:
    peer = Subject(CLUSTER, PEER, ("node-1",), "d1")
    names = (("URI", peer.uri), ("DNS", "node-2"))
    assert subject_of({"subjectAltName": names}) == peer
    assert subject_of({"subjectAltName": (*names, ("URI", peer.uri.replace("node-1", "node-2")))}) is None
    assert subject_of({"subjectAltName": (("DNS", "a"), ("DNS", "b"))}) == Subject("", PEER, ("a", "b"))
    assert subject_of({}) is None
    assert subject_of(None) is None


@pytest.mark.parametrize(
    ("subject", "word"),
    [
        (None, "not that of a peer"),
        (Subject(CLUSTER, "admin", ("node-1",), "d1"), "not that of a peer"),
        (Subject(CLUSTER, PEER, ("node-2",), "d1"), "it says that it is node-1"),
        (Subject("other", PEER, ("node-1",), "d1"), "another cluster"),
        (Subject(CLUSTER, PEER, ("node-1",), "d2"), "another data directory"),
        (Subject(CLUSTER, PEER, ("node-1",), "d1"), ""),
        (Subject("", PEER, ("web", "node-1")), ""),
    ],
)
def test_a_peer_speaks_only_as_its_certificate_says(subject: Subject | None, word: str) -> None:
    found = misnamed(subject, cluster=CLUSTER, name="node-1", directory="d1")
    assert word in found if word else not found


def test_a_peer_certificate_has_the_right_names_and_uses() -> None:
    authority = Authority.create(CLUSTER, NOW)
    subject = Subject(CLUSTER, PEER, ("node-1",), "d1")
    chain = authority.sign(
        request_for(new_key(), "liar"), subject, hosts=["10.0.0.1", "db.example"], now=NOW, seconds=3600
    )
    leaf, issuer = split(chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [subject.uri]
    assert names.get_values_for_type(x509.DNSName) == ["node-1", "db.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]
    assert issuer == authority.certificate
    leaf.verify_directly_issued_by(authority.certificate)
    when = validity(leaf)
    assert (when.begins, when.ends) == (NOW - BACKDATED, NOW + 3600)


def test_it_is_renewed_when_half_of_its_life_is_over() -> None:
    when = validity(split(issue(Authority.create(CLUSTER, NOW), "node-1", now=NOW, seconds=1000)[1])[0])
    assert not when.renewal_due(NOW)
    assert not when.renewal_due(NOW + 499)
    assert when.renewal_due(NOW + 501)
    assert when.renewal_due(NOW - BACKDATED - 1)


def test_the_message_about_a_certificate_names_the_clock() -> None:
    when = validity(split(issue(Authority.create(CLUSTER, NOW), "node-1", now=NOW, seconds=1000)[1])[0])
    assert not when.problem(NOW, "node-1")
    assert "not valid yet" in when.problem(NOW - 3600, "node-1")
    text = when.problem(NOW + 3600, "node-1")
    assert "not valid any more" in text
    assert "the clock of this machine says 2027-01-15T09:00:00Z" in text


def test_what_is_no_request_is_refused() -> None:
    authority = Authority.create(CLUSTER, NOW)
    subject = Subject(CLUSTER, PEER, ("a",), "d")
    with pytest.raises(UsageError):
        authority.sign(b"nonsense", subject, hosts=[], now=NOW, seconds=60)
    request = request_for(new_key(), "a")
    for host in ("ü" * 300, "*.example", " ", "a..b", "a.", ".a", "-a", "a" * 64, "a." * 127 + "a", "a\n"):
        with pytest.raises(UsageError):
            authority.sign(request, subject, hosts=[host], now=NOW, seconds=60)
    authority.sign(request, subject, hosts=["my_host.example", "A1.b-c", "::1"], now=NOW, seconds=60)
    with pytest.raises(UsageError):
        authority.sign(request, subject, hosts=["a"] * 17, now=NOW, seconds=60)
    with pytest.raises(Refused):
        authority.sign(request, Subject("other", PEER, ("a",), "d"), hosts=[], now=NOW, seconds=60)


# ---- files


def test_keys_are_kept_where_nobody_else_reads(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder = KeyFolder(tmp_path)
    assert folder.certificate() is None
    assert folder.authorities() == []
    authority = Authority.create(CLUSTER, NOW)
    key = folder.key()
    assert KeyFolder(tmp_path).key().private_numbers() == key.private_numbers()  # also before it has a certificate
    assert {file.name for file in folder.path.iterdir()} == {"peer.key"}
    subject = Subject(CLUSTER, PEER, ("node-1",), "d1")
    chain = authority.sign(request_for(key, "node-1"), subject, hosts=[], now=NOW, seconds=60)
    folder.write_peer(chain)
    assert {file.name for file in folder.path.iterdir()} == {"peer.pem"}
    assert folder.key().private_numbers() == key.private_numbers()
    folder.write_authority(authority)
    folder.write_authorities([authority.certificate])
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.path.iterdir()} == {0o600}
    loaded = KeyFolder(tmp_path)
    assert loaded.certificate() == split(chain)[0]
    assert loaded.issuer() == authority.fingerprint
    found = loaded.authority(authority.certificate)
    assert found is not None
    assert found.fingerprint == authority.fingerprint
    other = Authority.create(CLUSTER, NOW)
    loaded.write_authorities([other.certificate])
    assert loaded.authority(authority.certificate) is None


def test_a_key_that_others_may_read_is_refused_with_what_to_type(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder = KeyFolder(tmp_path)
    authority = Authority.create(CLUSTER, NOW)
    folder.write_authority(authority)
    file = next(folder.path.glob("authority-*.key"))
    file.chmod(0o640)
    with pytest.raises(MachineUnusable, match="0640") as error:
        folder.authority(authority.certificate)
    assert error.value.hint == f"chmod 600 {file}"
    file.chmod(0o600)
    folder.path.chmod(0o755)
    with pytest.raises(MachineUnusable) as error:
        KeyFolder(tmp_path)
    assert error.value.hint == f"chmod 700 {folder.path}"


def test_a_damaged_key_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder = KeyFolder(tmp_path)
    one, other = Authority.create(CLUSTER, NOW), Authority.create(CLUSTER, NOW)
    folder.write_authority(one)
    file = next(folder.path.glob("authority-*.key"))
    folder.write_authority(other)
    next(each for each in folder.path.glob("authority-*.key") if each != file).rename(file)
    with pytest.raises(DataCorrupt, match="is not the key"):
        folder.authority(one.certificate)
    file.write_text("nothing")
    with pytest.raises(DataCorrupt, match="no private key"):
        folder.authority(one.certificate)


# ---- connections


class Served:
    """A TLS port that answers `hello NAME`, with whom it saw."""

    def __init__(self, contexts: Contexts, context: ssl.SSLContext) -> None:
        self.contexts, self._context = contexts, context
        self.received = b""

    async def start(self) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            subject = subject_of(writer.get_extra_info("peercert"))
            writer.write(f"hello {subject.names[0] if subject else 'nobody'}".encode())
            self.received += await reader.read(100)
            writer.close()

        self.server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self._context)
        return int(self.server.sockets[0].getsockname()[1])


async def ask(port: int, context: ssl.SSLContext) -> str:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            return (await reader.read(100)).decode()
        finally:
            writer.close()


@pytest.fixture
def authority() -> Authority:
    return Authority.create(CLUSTER, time.time())


@pytest.fixture
async def served(tmp_path: Path, authority: Authority) -> AsyncIterator[tuple[Served, int]]:
    contexts = Contexts(*peer_files(tmp_path / "server", authority, "node-1"))
    served = Served(contexts, contexts.server)
    port = await served.start()
    yield served, port
    served.server.close()


async def test_both_sides_show_certificates(tmp_path: Path, authority: Authority, served: tuple[Served, int]) -> None:
    _, port = served
    trusted, chain = peer_files(tmp_path / "client", authority, "node-2")
    assert await ask(port, peer_context(trusted, chain)) == "hello node-2"
    assert await ask(port, client_context(trusted)) == ""  # it shows none
    stranger = peer_files(tmp_path / "stranger", Authority.create(CLUSTER, time.time()), "node-2")
    assert await ask(port, peer_context(trusted, stranger[1])) == ""
    with pytest.raises(ssl.SSLCertVerificationError) as error:
        await ask(port, peer_context(*stranger))
    assert "another cluster" in explain(error.value, time.time())


async def test_only_tls_13_is_spoken(tmp_path: Path, authority: Authority, served: tuple[Served, int]) -> None:
    old = peer_context(*peer_files(tmp_path / "client", authority, "node-2"))
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError):  # an alert, or a connection that is reset
        await ask(served[1], old)


async def test_a_callers_certificate_is_no_server(tmp_path: Path, authority: Authority) -> None:
    trusted, chain = peer_files(tmp_path / "caller", authority, "ci", kind="operator")
    posing = Served(Contexts(trusted, chain), Contexts(trusted, chain).api)
    port = await posing.start()
    with pytest.raises(ssl.SSLCertVerificationError):
        await ask(port, client_context(trusted))
    posing.server.close()


async def test_certificates_are_replaced_under_an_open_port(
    tmp_path: Path, authority: Authority, served: tuple[Served, int]
) -> None:
    port = served[1]
    new = Authority.create(CLUSTER, time.time())
    trusted, chain = peer_files(tmp_path / "client", new, "node-2")
    with pytest.raises(ssl.SSLCertVerificationError):
        await ask(port, peer_context(trusted, chain))
    standing, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=peer_context(*peer_files(tmp_path / "old", authority, "node-3"))
    )
    assert await standing.read(5) == b"hello"
    peer_files(tmp_path / "server", new, "node-1")
    served[0].contexts.replace(trusted)
    assert await ask(port, peer_context(trusted, chain)) == "hello node-2"
    assert await standing.read(100) == b" node-3"
    writer.close()


async def test_a_certificate_of_another_time_is_told_with_the_clock(tmp_path: Path, authority: Authority) -> None:
    for shift, word in ((-7200.0, "not valid any more"), (7200.0, "not valid yet")):
        trusted, chain = peer_files(tmp_path / f"at{shift}", authority, "node-1", now=time.time() + shift)
        late = Served(Contexts(trusted, chain), Contexts(trusted, chain).api)
        port = await late.start()
        with pytest.raises(ssl.SSLCertVerificationError) as error:
            await ask(port, client_context(trusted))
        text = explain(error.value, NOW)
        assert word in text
        assert "2027-01-15T08:00Z: compare the clocks" in text
        late.server.close()


async def test_a_joiner_says_nothing_to_a_stranger(authority: Authority, served: tuple[Served, int]) -> None:
    server, port = served
    pem = await authority_of("127.0.0.1", port, authority.fingerprint, now=NOW)
    assert split(pem) == [authority.certificate]
    with pytest.raises(Refused, match="nothing was sent"):
        await authority_of("127.0.0.1", port, "0" * 64, now=NOW)
    assert server.received == b""


async def test_a_joiner_finds_no_tls(authority: Authority) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    with pytest.raises(Unreachable, match="does not speak TLS"):
        await authority_of("127.0.0.1", server.sockets[0].getsockname()[1], "0" * 64, now=NOW)
    server.close()


def test_the_mode_of_a_new_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    old = os.umask(0)
    try:
        KeyFolder(tmp_path)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "identity").stat().st_mode) == 0o700

"""One key for each data directory, and which certificates for it a peer takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography import x509

from raftchaos.agent.data_directory import DataDirectory
from raftchaos.clock import SystemClock
from raftchaos.core.service_records import JoinRequest
from raftchaos.core.state import ClusterState
from raftchaos.errors import MachineUnusable, Refused, UsageError
from raftchaos.identity.certificates import Authority, digest_of_key, fingerprint_of, new_key, request_for
from raftchaos.identity.tokens import new_join_token
from raftchaos.peer.access import Access
from raftchaos.peer.identity import CertificateEnded, PeerIdentity
from raftchaos.peer.joining import VARIABLE
from raftchaos.peer.main import run_peer
from raftchaos.peer.membership import _resume
from tests.unit.peer.identities import CLUSTER, Wall, authorities_of, certify, founder, let_in, peer, settings


def key_in(certificate: x509.Certificate) -> object:
    return certificate.public_key()


def test_a_peer_that_asks_twice_has_one_key_and_goes_on_with_its_contexts(tmp_path: Path) -> None:
    first, joiner = founder(tmp_path), peer(tmp_path, "b")
    let_in(first, joiner)
    contexts, leaf, key = joiner.contexts, joiner.contexts.leaf, key_in(joiner.certificate)
    let_in(first, joiner)
    assert joiner.contexts is contexts  # the ports and the Raft connections have it
    assert contexts.leaf != leaf
    assert key_in(joiner.certificate) == key
    again = peer(tmp_path, "b")
    again.resume(CLUSTER)
    assert key_in(again.certificate) == key


@pytest.mark.parametrize("wrong", ["key", "name", "directory", "authority"])
def test_a_certificate_that_is_not_for_this_peer_is_not_taken(tmp_path: Path, wrong: str) -> None:
    first, joiner = founder(tmp_path), peer(tmp_path, "b")
    let_in(first, joiner)
    (tmp_path / "elsewhere").mkdir()
    answers = {
        "key": lambda: certify(first, joiner, request=request_for(new_key(), "b").decode()),
        "name": lambda: certify(first, joiner, name="a"),
        "directory": lambda: certify(first, joiner, directory="f" * 32),
        "authority": lambda: certify(founder(tmp_path / "elsewhere"), joiner),
    }
    before = joiner.folder.peer.read_bytes()
    with pytest.raises(Refused):
        joiner.take(answers[wrong]())
    with pytest.raises(Refused):
        joiner.joined(CLUSTER, answers[wrong](), authorities_of(first))
    assert joiner.folder.peer.read_bytes() == before
    joiner.take(certify(first, joiner))
    assert joiner.folder.peer.read_bytes() != before


@pytest.mark.parametrize("signs", [False, True])
def test_a_restart_while_the_ca_is_replaced_signs_with_the_one_that_others_trust(tmp_path: Path, signs: bool) -> None:
    clock = Wall()
    first = founder(tmp_path, clock=clock)
    old = first.signer()
    new = Authority.create(CLUSTER, clock.now)
    assert old is not None
    first.folder.write_authorities([old.certificate, new.certificate])
    first.folder.write_authority(new)
    first.reload()
    if signs:
        first.renew(new)
    clock.now += 8 * 24 * 3600
    again = peer(tmp_path, "a", clock)
    again.resume(CLUSTER)
    assert again.fingerprint == (new if signs else old).fingerprint


async def test_only_an_ended_certificate_is_replaced_by_joining(tmp_path: Path) -> None:
    clock = Wall()
    first, joiner = founder(tmp_path, clock=clock), peer(tmp_path, "b", clock)
    let_in(first, joiner)
    directory = DataDirectory(tmp_path / "b")
    identity = directory.begin("b", SystemClock())
    directory.adopt_cluster(CLUSTER)
    said = settings(tmp_path, "b", join="127.0.0.1:1")
    file = joiner.folder.path / "authorities.pem"
    file.chmod(0o644)
    again = PeerIdentity(said, tmp_path / "b", identity.directory, clock)  # type: ignore[arg-type]
    with pytest.raises(MachineUnusable) as error:
        await _resume(said, directory, again)
    assert error.value.hint == f"chmod 600 {file}"
    file.chmod(0o600)
    clock.now += 8 * 24 * 3600
    with pytest.raises(CertificateEnded):
        again.resume(CLUSTER)
    directory.close()


# ---- join tokens


def test_a_file_with_a_join_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = new_join_token("a" * 64)
    file.write_text(token.text)
    file.chmod(0o644)
    joiner = peer(tmp_path, "b", **{"token-file": str(file)})
    with pytest.raises(MachineUnusable) as error:
        joiner.join_token()
    assert error.value.hint == f"chmod 600 {file}"
    file.chmod(0o600)
    assert joiner.join_token() == token


def test_a_join_token_leaves_the_environment_even_if_it_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, "rcj1.x.y")
    with pytest.raises(MachineUnusable):
        run_peer(settings(tmp_path / "file", "b"))
    assert VARIABLE not in os.environ


# ---- what is looked at before anything is written


@pytest.mark.parametrize(
    "wrong", [{"certificate_request": "nonsense"}, {"hosts": ("*.example",)}, {"hosts": (" ",)}, {"hosts": ("é",)}]
)
def test_a_join_that_cannot_be_signed_is_refused_before_admission(tmp_path: Path, wrong: dict[str, object]) -> None:
    first, joiner = founder(tmp_path), peer(tmp_path, "b")
    access = Access(first, state=ClusterState, voters=lambda: ("a",), write=None)  # type: ignore[arg-type]
    good: dict[str, object] = {"certificate_request": joiner.request(), "hosts": ("host.example", "10.0.0.1")}
    where = ("b", "b" * 32, "127.0.0.1:1", "127.0.0.1:2")
    asked = access.check(JoinRequest(*where, **good))  # type: ignore[arg-type]
    assert asked.key == digest_of_key(joiner.folder.key().public_key())
    with pytest.raises(UsageError):
        access.check(JoinRequest(*where, **{**good, **wrong}))  # type: ignore[arg-type]


def test_the_fingerprint_of_a_cluster_is_that_of_its_ca(tmp_path: Path) -> None:
    first = founder(tmp_path)
    assert first.fingerprint == fingerprint_of(first.folder.authorities()[0])

"""Callers on other machines: tokens, logins, certificates, and what is written down of them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.harness import Cluster, PeerProcess, wait_until


@pytest.fixture
def peer(cluster: Cluster) -> PeerProcess:
    """A peer that is reached at 127.0.0.2 as from another machine: there is no socket for that address."""
    made = cluster.peers["node-1"] = PeerProcess("node-1", cluster.root)
    made.start(extra=("--listen", f"0.0.0.0:{made.api}", "--advertise", "127.0.0.1"))
    wait_until(made.ready, 20, "it is ready")
    wait_until(lambda: made.get("/api/v1/authority")["authorities"], 15, "the CA is known")
    return made


def cli(folder: Path, *words: str, code: int = 0, **environment: str) -> str:
    """What a command says, on stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "raftchaos.cli.main", *words],
        env={**os.environ, "XDG_CONFIG_HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_a_token_and_a_login_call_from_elsewhere(peer: PeerProcess, tmp_path: Path) -> None:
    here, there = f"127.0.0.1:{peer.api}", f"127.0.0.2:{peer.api}"
    said = cli(tmp_path, "token", "create", "ci", "--role", "operator", "--peer", here)
    token = said.split()[0]
    assert cli(tmp_path, "status", "--peer", there, code=3)
    assert "node-1" in cli(tmp_path, "status", "--peer", there, RAFTCHAOS_TOKEN=token)
    assert "this needs admin" in cli(tmp_path, "token", "list", "--peer", there, code=5, RAFTCHAOS_TOKEN=token)
    wrong = f"{token.partition('@')[0]}@{'0' * 64}"
    assert "nothing was sent" in cli(tmp_path, "status", "--peer", there, code=5, RAFTCHAOS_TOKEN=wrong)
    cli(tmp_path, "login", there, RAFTCHAOS_TOKEN=token)
    file = tmp_path / "raftchaos" / "contexts.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "node-1" in cli(tmp_path, "status", "--peer", there)
    assert "node-1" in cli(tmp_path, "status")
    file.chmod(0o644)
    assert f"chmod 600 {file}" in cli(tmp_path, "status", "--peer", there, code=5)
    file.chmod(0o600)
    assert token.partition("@")[0] not in peer.output()
    cli(tmp_path, "token", "revoke", "ci", "--peer", here)
    assert "raftchaos login" in cli(tmp_path, "status", "--peer", there, code=5)


def test_a_certificate_calls_and_is_revoked_as_a_token(peer: PeerProcess, tmp_path: Path) -> None:
    here, there = f"127.0.0.1:{peer.api}", f"127.0.0.2:{peer.api}"
    bob, ca = tmp_path / "bob.pem", tmp_path / "ca.pem"
    cli(tmp_path, "token", "create", "bob", "--role", "viewer", "--certificate", str(bob), "--peer", here)
    assert stat.S_IMODE(bob.stat().st_mode) == 0o600
    ca.write_text(cli(tmp_path, "ca", "show", "--pem", "--peer", here))
    cli(tmp_path, "login", there, "--certificate", str(bob), "--ca", str(ca))
    assert "node-1" in cli(tmp_path, "node", "list", "--peer", there)
    assert "this needs operator" in cli(tmp_path, "halt", "--peer", there, code=5)
    cli(tmp_path, "token", "revoke", "bob", "--peer", here)
    cli(tmp_path, "node", "list", "--peer", there, code=5)


def test_the_log_says_who_asked(peer: PeerProcess, tmp_path: Path) -> None:
    there = f"127.0.0.2:{peer.api}"
    token = peer.post("/api/v1/tokens", {"name": "ci", "role": "admin"})["token"]
    cli(tmp_path, "halt", "--reason", "enough", "--peer", there, RAFTCHAOS_TOKEN=token)
    log = next((peer.data / "raft").glob("log")).read_bytes()
    for word in (b"socket", b"token:", b"127.0.0.1", b"admin"):
        assert word in log
    assert token.partition("@")[0].split("_", 2)[2].encode() not in log
    tokens = peer.get("/api/v1/tokens")["tokens"]
    assert tokens[0]["createdBy"]

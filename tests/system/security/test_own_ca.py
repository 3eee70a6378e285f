"""A cluster with certificates of its owner's CA."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.system.harness import Cluster, PeerProcess, wait_until
from tests.system.security.test_joining import join_token, refused


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=20)


class OwnCa:
    """Makes a CA and certificates with openssl, as its owner would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.key = folder / "own-ca.pem", folder / "own-ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/O=Example/CN=Example CA", "-keyout", str(self.key), "-out", str(self.ca))  # fmt: skip
        self.signer, self.signer_key, self.shown = self.ca, self.key, ""

    def go_between(self) -> None:
        """From now on an intermediate CA signs, whose certificate each peer shows beside its own."""
        request, names = self.folder / "between.csr", self.folder / "between.ext"
        certificate, key = self.folder / "between.pem", self.folder / "between.key"
        names.write_text("basicConstraints=critical,CA:TRUE,pathlen:0\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", "/O=Example/CN=Example Between", "-keyout", str(key), "-out", str(request))  # fmt: skip
        openssl("x509", "-req", "-in", str(request), "-CA", str(self.ca), "-CAkey", str(self.key), "-days", "2",
                "-extfile", str(names), "-out", str(certificate))  # fmt: skip
        self.signer, self.signer_key, self.shown = certificate, key, certificate.read_text()

    def sign(self, name: str) -> tuple[str, ...]:
        """Certificate and key for this peer; the words for its command line."""
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        names = self.folder / f"{name}.ext"
        names.write_text(
            f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"
        )
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                "-keyout", str(key), "-out", str(request))  # fmt: skip
        openssl("x509", "-req", "-in", str(request), "-CA", str(self.signer), "-CAkey", str(self.signer_key),
                "-days", "1", "-extfile", str(names), "-out", str(certificate))  # fmt: skip
        certificate.write_text(certificate.read_text() + self.shown)
        key.chmod(0o600)
        return "--tls-cert", str(certificate), "--tls-key", str(key), "--tls-ca", str(self.ca)


def test_peers_with_certificates_of_ones_own_ca(
    cluster: Cluster, tmp_path: Path, require: Callable[[bool, str], None]
) -> None:
    require(shutil.which("openssl") is not None, "openssl")
    own = OwnCa(tmp_path)
    first = cluster.peers["node-1"] = PeerProcess("node-1", cluster.root)
    first.start(extra=own.sign("node-1"))
    wait_until(first.ready, 20, "the founder is ready")
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(join_token(first))
    second = cluster.peers["node-2"] = PeerProcess("node-2", cluster.root)
    second.start(join=first.api, extra=(*own.sign("node-2"), "--token-file", str(token)))
    cluster.wait_ready(40)
    assert not list((first.data / "identity").glob("authority-*"))
    posing = cluster.peers["node-3"] = PeerProcess("node-3", cluster.root)
    posing.start(join=first.api, extra=own.sign("node-9"))
    wait_until(lambda: "it says that it is node-3" in first.output() + second.output(), 30, "the lie is told")
    posing.kill()
    key = tmp_path / "node-2.key"
    key.chmod(0o644)
    second.kill()
    second.start(extra=("--tls-cert", str(tmp_path / "node-2.crt"), "--tls-key", str(key), "--tls-ca", str(own.ca)))
    refused(second, f"chmod 600 {key}")


def test_peers_join_by_token_where_an_intermediate_ca_signs(
    cluster: Cluster, tmp_path: Path, require: Callable[[bool, str], None]
) -> None:
    require(shutil.which("openssl") is not None, "openssl")
    own = OwnCa(tmp_path)
    own.go_between()
    first = cluster.peers["node-1"] = PeerProcess("node-1", cluster.root)
    first.start(extra=own.sign("node-1"))
    wait_until(first.ready, 20, "the founder is ready")
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(join_token(first))
    second = cluster.peers["node-2"] = PeerProcess("node-2", cluster.root)
    second.start(join=first.api, extra=(*own.sign("node-2"), "--token-file", str(token)))
    cluster.wait_ready(40)

"""Certificates for tests."""

from __future__ import annotations

import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from raftchaos.identity.certificates import Authority, key_bytes, new_key, pem_of, request_for
from raftchaos.identity.subjects import PEER, Subject

CLUSTER = "c" * 32


def issue(
    authority: Authority,
    name: str,
    *,
    kind: str = PEER,
    directory: str = "",
    token: str = "",
    cluster: str = CLUSTER,
    now: float | None = None,
    seconds: float = 3600.0,
) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A key and a chain; the data directory of a peer is `d-NAME` unless it is given. `token` lists a caller's."""
    key = new_key()
    subject = Subject(cluster, kind, (name,), (directory or f"d-{name}") if kind == PEER else token or "0" * 16)
    at = time.time() if now is None else now
    return key, authority.sign(request_for(key, name), subject, hosts=[], now=at, seconds=seconds)


def peer_files(folder: Path, authority: Authority, name: str, **more: object) -> tuple[bytes, Path]:
    """The trusted CA as PEM, and a file with key and chain in `folder`."""
    folder.mkdir(exist_ok=True)
    key, chain = issue(authority, name, **more)  # type: ignore[arg-type]
    file = folder / "peer.pem"
    file.write_bytes(key_bytes(key) + chain)
    return pem_of(authority.certificate), file

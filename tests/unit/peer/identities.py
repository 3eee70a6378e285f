"""Peers' keys and certificates for tests, as the composition root makes them."""

from __future__ import annotations

from pathlib import Path

from raftchaos.config import PeerSettings, peer_settings
from raftchaos.identity.certificates import pem_of
from raftchaos.peer.identity import PeerIdentity

CLUSTER, NOW = "c" * 32, 1_800_000_000.0


class Wall:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def wall(self) -> float:
        return self.now

    def boot(self) -> float:
        return self.now


def settings(folder: Path, name: str, **flags: object) -> PeerSettings:
    return peer_settings({"name": name, "data-dir": str(folder / name), **flags})


def peer(folder: Path, name: str, clock: Wall | None = None, directory: str = "", **flags: object) -> PeerIdentity:
    """A peer's identity in `folder`; its data directory's id is its name, filled up, unless it is given."""
    said = settings(folder, name, **flags)
    said.data_dir.mkdir(mode=0o700, exist_ok=True)
    return PeerIdentity(said, said.data_dir, directory or name.ljust(32, "0"), clock or Wall())  # type: ignore[arg-type]


def founder(folder: Path, name: str = "a", clock: Wall | None = None) -> PeerIdentity:
    found = peer(folder, name, clock)
    found.found(CLUSTER)
    return found


def certify(signer: PeerIdentity, whom: PeerIdentity, name: str = "", directory: str = "", request: str = "") -> str:
    """What a peer with the CA key answers to a request; the default is the request of `whom` for itself."""
    authority = signer.signer()
    assert authority is not None
    return signer.sign(authority, request or whom.request(), name or whom.name, directory or whom.directory_id, [])


def let_in(signer: PeerIdentity, whom: PeerIdentity) -> None:
    """`whom` joins."""
    whom.joined(CLUSTER, certify(signer, whom), authorities_of(signer))


def authorities_of(signer: PeerIdentity) -> str:
    return b"".join(map(pem_of, signer.folder.authorities())).decode()

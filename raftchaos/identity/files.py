"""The keys of a peer on disk: read only where nobody else can, replaced as whole files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from raftchaos.errors import MachineUnusable
from raftchaos.files import write_atomically
from raftchaos.identity.certificates import Authority, fingerprint_of, key_bytes, load_key, new_key, pem_of, split
from raftchaos.identity.private import check_folder, check_private, check_writers

FOLDER: Final = "identity"
PEER: Final = "peer.pem"
KEY: Final = "peer.key"
AUTHORITIES: Final = "authorities.pem"


class KeyFolder:
    """`identity` in a data directory. Every method raises MachineUnusable for what cannot be read or others may read,
    and DataCorrupt for what is no certificate or key."""

    def __init__(self, data_dir: Path) -> None:
        """Makes the folder, or checks its mode."""
        self.path = data_dir / FOLDER
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise MachineUnusable(f"cannot make {self.path}: {error.strerror}") from error
        check_writers(data_dir)
        check_folder(self.path)

    # ---- the peer's own certificate

    @property
    def peer(self) -> Path:
        """Its key, its certificate and the certificate of the CA that signed it, in one file."""
        return self.path / PEER

    def certificate(self) -> x509.Certificate | None:
        """The peer's certificate; None if it has none yet."""
        data = self._read(PEER)
        return None if data is None else split(data, str(self.peer))[0]

    def issuer(self) -> str:
        """Fingerprint of the CA that signed the peer's certificate; empty if it has none."""
        data = self._read(PEER)
        found = [] if data is None else split(data, str(self.peer))
        return fingerprint_of(found[1]) if len(found) > 1 else ""

    def key(self) -> ec.EllipticCurvePrivateKey:
        """The peer's key: one for the life of the data directory, made when it is first asked for."""
        data = self._read(PEER) or self._read(KEY)
        if data is None:
            made = new_key()
            write_atomically(self.path / KEY, key_bytes(made))
            return made
        return load_key(data, f"{self.path}")

    def write_peer(self, chain: bytes) -> None:
        """Take a new certificate into use."""
        write_atomically(self.peer, key_bytes(self.key()) + chain)
        (self.path / KEY).unlink(missing_ok=True)

    # ---- the CAs

    def authorities(self) -> list[x509.Certificate]:
        """The CAs that this peer trusts, the newest last."""
        data = self._read(AUTHORITIES)
        return [] if data is None else split(data, str(self.path / AUTHORITIES))

    def write_authorities(self, trusted: list[x509.Certificate]) -> None:
        """Trust these CAs from now on, and forget the keys of others."""
        write_atomically(self.path / AUTHORITIES, b"".join(map(pem_of, trusted)))
        self.keep_keys(trusted)

    def authority(self, certificate: x509.Certificate) -> Authority | None:
        """This CA with its key; None if the key is not here."""
        file = self._key(fingerprint_of(certificate))
        data = self._read(file.name)
        return None if data is None else Authority.load(certificate, data, str(file))

    def write_authority(self, authority: Authority) -> None:
        """Keep the key of a CA."""
        write_atomically(self._key(authority.fingerprint), key_bytes(authority.key))

    def keep_keys(self, trusted: Sequence[x509.Certificate] = ()) -> None:
        """Forget the keys of all CAs but these."""
        kept = {self._key(fingerprint_of(certificate)) for certificate in trusted}
        for file in self.path.glob("authority-*.key"):
            if file not in kept:
                file.unlink(missing_ok=True)

    def _key(self, fingerprint: str) -> Path:
        return self.path / f"authority-{fingerprint[:16]}.key"

    def _read(self, name: str) -> bytes | None:
        file = self.path / name
        if not file.exists():
            return None
        check_private(file)
        try:
            return file.read_bytes()
        except OSError as error:
            raise MachineUnusable(f"cannot read {file}: {error.strerror}") from error

"""The keys and certificates of one peer: made when it founds a cluster, asked for when it joins, renewed in time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from raftchaos.clock import Clock
from raftchaos.config import PeerSettings, is_wildcard, parse_address
from raftchaos.errors import DataCorrupt, MachineUnusable, Refused
from raftchaos.identity.certificates import (
    Authority,
    Validity,
    fingerprint_of,
    new_key,
    pem_of,
    request_for,
    split,
    validity,
)
from raftchaos.identity.files import KeyFolder
from raftchaos.identity.private import check_private
from raftchaos.identity.subjects import PEER, Subject
from raftchaos.identity.tls import Contexts
from raftchaos.identity.tokens import JoinToken
from raftchaos.peer.joining import join_token

LOGGER = logging.getLogger(__name__)


class PeerIdentity:
    """What a secure peer has. `contexts` is there once it has a certificate."""

    contexts: Contexts
    valid: Validity
    """When its certificate is valid."""
    fingerprint: str
    """Of the CA of its certificate, which a joiner is to look for."""

    def __init__(self, settings: PeerSettings, directory: Path, directory_id: str, clock: Clock) -> None:
        """Raises MachineUnusable for keys that others may read."""
        self._settings, self._clock = settings, clock
        self.name, self.directory_id = settings.name, directory_id
        self.cluster = ""
        self._token: JoinToken | None = None
        self.own_ca = settings.tls_cert is not None
        self.folder = KeyFolder(directory)
        if settings.tls_key is not None:
            check_private(settings.tls_key)

    @property
    def hosts(self) -> list[str]:
        """Under which names and addresses other programs may find this peer."""
        found = [self._settings.advertise] if self._settings.advertise else []
        for address in (self._settings.listen, self._settings.raft_listen):
            host, _ = parse_address(address, what="an address")
            if not is_wildcard(host):
                found.append(host)
        return list(dict.fromkeys([*found, "localhost", "127.0.0.1"]))

    def now(self) -> float:
        """The wall clock in seconds."""
        return self._clock.wall()

    def join_token(self) -> JoinToken | None:
        """The token that this start was given, if any; it is read once. Raises UsageError."""
        if self._token is None:
            self._token = join_token(self._settings.token_file)
        return self._token

    # ---- starting

    def found(self, cluster: str) -> None:
        """Make the CA of a cluster that begins with this peer, and this peer's certificate."""
        self.cluster = cluster
        if not self.own_ca:
            authority = Authority.create(cluster, self.now())
            self.folder.write_authority(authority)
            self.folder.write_authorities([authority.certificate])
            self._sign_own(authority)
        self._open()

    def request(self) -> tuple[ec.EllipticCurvePrivateKey, str]:
        """A new key, and a certificate request (PEM) for it."""
        key = new_key()
        return key, request_for(key, self.name).decode()

    def joined(self, cluster: str, key: ec.EllipticCurvePrivateKey, chain: str, authorities: str) -> None:
        """Take into use what the cluster has answered."""
        self.cluster = cluster
        if not self.own_ca:
            self.folder.write_authorities(split(authorities.encode(), "the answer to the join"))
            self.folder.write_peer(key, chain.encode())
        self._open()

    def resume(self, cluster: str) -> None:
        """Go on after a restart. A peer that has the CA key signs itself a new certificate if that is due.

        Raises MachineUnusable if there is no certificate that is valid.
        """
        self.cluster = cluster
        if not self.own_ca:
            self._check_member()
        self._open()
        self.check_clock()

    def _check_member(self) -> None:
        certificate, trusted = self.folder.certificate(), self.folder.authorities()
        authority = self.signer()
        if not trusted or (certificate is None and authority is None):
            raise MachineUnusable(
                f"the peer of {self.folder.path.parent} has no certificate: it ran with --insecure",
                hint="start it with --insecure, or make a secure cluster of its data: `raftchaos backup` and `restore`",
            )
        if authority is not None and authority.cluster != self.cluster:
            self.found(self.cluster)  # it goes on alone as another cluster, whose CA nobody else has
        elif authority is not None and (certificate is None or validity(certificate).renewal_due(self.now())):
            self._sign_own(authority)

    def check_clock(self) -> None:
        """Raises MachineUnusable, with both times, if this peer's certificate is not valid now."""
        wrong = self.valid.problem(self.now(), self.name)
        if wrong:
            raise MachineUnusable(
                wrong,
                hint="correct the clock; if it is right, start the peer with --join HOST:PORT and a join token, "
                "its data stays",
            )

    def _open(self) -> None:
        chain = self._settings.tls_cert or self.folder.peer
        self.contexts = Contexts(self._trusted(), chain, self._settings.tls_key, wall=self._clock.wall)
        self._look()

    def _look(self) -> None:
        """What is asked every second is remembered."""
        self.valid = validity(self.certificate)
        self.fingerprint = self._find_fingerprint()
        self._trusts = [] if self.own_ca else [fingerprint_of(one) for one in self.folder.authorities()]
        self._changed_at = self._times()

    def _times(self) -> list[float]:
        own = (self._settings.tls_cert, self._settings.tls_key, self._settings.tls_ca)
        return [file.stat().st_mtime for file in own if file is not None]

    def reload_changed(self) -> None:
        """Take the files of one's own CA into use if somebody has replaced them. Raises MachineUnusable, OSError."""
        if self._times() != self._changed_at:
            self.reload()
            LOGGER.info("has taken new certificates into use")

    def _trusted(self) -> bytes:
        if self._settings.tls_ca is not None:
            return _read(self._settings.tls_ca)
        return b"".join(map(pem_of, self.folder.authorities()))

    # ---- later

    @property
    def certificate(self) -> x509.Certificate:
        """This peer's own."""
        if self._settings.tls_cert is not None:
            return split(_read(self._settings.tls_cert), str(self._settings.tls_cert))[0]
        found = self.folder.certificate()
        if found is None:
            raise DataCorrupt(f"{self.folder.peer} is missing")
        return found

    def _find_fingerprint(self) -> str:
        if self.own_ca:
            return fingerprint_of(split(self._trusted(), str(self._settings.tls_ca))[-1])
        return self.folder.issuer()

    def signer(self, fingerprint: str = "") -> Authority | None:
        """The CA with this fingerprint (default: the newest whose key is here); None if its key is not here."""
        for certificate in reversed(self.folder.authorities()):
            if fingerprint in ("", fingerprint_of(certificate)):
                authority = self.folder.authority(certificate)
                if authority is not None or fingerprint:
                    return authority
        return None

    def sign(self, authority: Authority, request: str, name: str, directory: str, hosts: Sequence[str]) -> str:
        """A certificate (PEM, with the CA's) for another peer."""
        subject = Subject(self.cluster, PEER, (name,), directory)
        seconds = self._settings.certificate_seconds
        return authority.sign(request.encode(), subject, hosts=hosts, now=self.now(), seconds=seconds).decode()

    def renew(self, authority: Authority) -> None:
        """Sign this peer a new certificate and take it into use."""
        self._sign_own(authority)
        self.reload()

    def take(self, key: ec.EllipticCurvePrivateKey, chain: str) -> None:
        """Take a certificate into use that another peer has signed. Raises Refused if it is not of a trusted CA."""
        found = split(chain.encode(), "the new certificate")
        if len(found) < 2 or fingerprint_of(found[1]) not in self._trusts:
            raise Refused("the new certificate is not of a CA that is trusted here")
        self.folder.write_peer(key, chain.encode())
        self.reload()

    def trust(self, certificates: Mapping[str, str]) -> bool:
        """Trust exactly these CAs (PEM by fingerprint); True if that was new."""
        if self._trusts == list(certificates):
            return False
        self.folder.write_authorities([split(pem.encode(), "a CA")[0] for pem in certificates.values()])
        self.reload()
        return True

    def reload(self) -> None:
        """Take the files into use for new connections."""
        self.contexts.replace(self._trusted())
        self._look()

    def renewal_due(self) -> bool:
        """Whether this peer's certificate is to be replaced soon."""
        return self.valid.renewal_due(self.now())

    def _sign_own(self, authority: Authority) -> None:
        key, request = self.request()
        chain = self.sign(authority, request, self.name, self.directory_id, self.hosts)
        self.folder.write_peer(key, chain.encode())
        LOGGER.info("signed a certificate for %s, valid for %g s", self.name, self._settings.certificate_seconds)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MachineUnusable(f"{path} cannot be read: {error.strerror}", hint="check the path") from None

"""The keys and certificates of one peer: made when it founds a cluster, asked for when it joins, renewed in time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509

from raftchaos.clock import Clock
from raftchaos.config import PeerSettings, is_wildcard, parse_address
from raftchaos.errors import DataCorrupt, MachineUnusable
from raftchaos.identity.certificates import (
    Authority,
    Validity,
    check_chain,
    fingerprint_of,
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


class CertificateEnded(MachineUnusable):
    """The peer's certificate is not valid now: nothing else is wrong with its keys."""


class PeerIdentity:
    """What a secure peer has. `contexts` is there once it has a certificate."""

    contexts: Contexts
    valid: Validity
    """When its certificate is valid."""
    fingerprint: str
    """Of the CA of its certificate, which a joiner is to look for."""

    def __init__(
        self, settings: PeerSettings, directory: Path, directory_id: str, clock: Clock, offered: str = ""
    ) -> None:
        """`offered` is the text of a join token, if there is one. Raises MachineUnusable for keys that others may
        read."""
        self._settings, self._clock = settings, clock
        self.name, self.directory_id = settings.name, directory_id
        self.cluster = ""
        self._offered = offered
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
        """The token that this start was given, if any. Raises UsageError, and MachineUnusable for a file that others
        may read."""
        return join_token(self._settings.token_file, self._offered)

    # ---- starting

    def found(self, cluster: str) -> None:
        """Make the CA of a cluster that begins with this peer, and this peer's certificate."""
        self.cluster = cluster
        if not self.own_ca:
            authority = Authority.create(cluster, self.now())
            self.folder.write_authority(authority)
            self.folder.write_authorities([authority.certificate])
            self._sign_own(authority)
        self.reload()

    def request(self) -> str:
        """A certificate request (PEM). It is always for the same key: by that the cluster knows this peer again."""
        return request_for(self.folder.key(), self.name).decode()

    def joined(self, cluster: str, chain: str, authorities: str) -> None:
        """Take into use what the cluster has answered. Raises Refused for a certificate that is not for this peer."""
        self.cluster = cluster
        if not self.own_ca:
            trusted = split(authorities.encode(), "the answer to the join")
            self.check(chain, trusted)
            self.folder.write_authorities(trusted)
            self.folder.write_peer(chain.encode())
        self.reload()

    def resume(self, cluster: str) -> None:
        """Go on after a restart. A peer that has the CA key signs itself a new certificate if that is due.

        Raises CertificateEnded if its certificate is not valid now, MachineUnusable if it has none.
        """
        self.cluster = cluster
        if not self.own_ca:
            self._check_member()
        self.reload()
        self.check_clock()

    def _check_member(self) -> None:
        certificate, trusted = self.folder.certificate(), self.folder.authorities()
        # Others may not trust the newest CA yet; that of the last certificate they do.
        authority = self.signer(self.folder.issuer()) or self.signer()
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
        """Raises CertificateEnded, with both times, if this peer's certificate is not valid now."""
        wrong = self.valid.problem(self.now(), self.name)
        if wrong:
            raise CertificateEnded(
                wrong,
                hint="correct the clock; if it is right, start the peer with --join HOST:PORT and a join token, "
                "its data stays",
            )

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

    def own_authorities(self) -> bytes:
        """The CAs (PEM) of certificates of one's own CA; empty otherwise."""
        return self._trusted() if self.own_ca else b""

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

    def take(self, chain: str) -> None:
        """Take a certificate into use that another peer has signed. Raises Refused if it is not for this peer and its
        key, or not of a trusted CA."""
        self.check(chain, self.folder.authorities())
        self.folder.write_peer(chain.encode())
        self.reload()

    def check(self, chain: str, trusted: Sequence[x509.Certificate]) -> None:
        """Raises Refused for a chain (PEM) that is not for this peer and its key, or not of one of these CAs."""
        subject = Subject(self.cluster, PEER, (self.name,), self.directory_id)
        check_chain(chain, subject, self.folder.key().public_key(), trusted)

    def trust(self, certificates: Mapping[str, str]) -> bool:
        """Trust exactly these CAs (PEM by fingerprint); True if that was new."""
        if self._trusts == list(certificates):
            return False
        self.folder.write_authorities([split(pem.encode(), "a CA")[0] for pem in certificates.values()])
        self.reload()
        return True

    def reload(self) -> None:
        """Take the files into use for new connections. Ports and connections have the contexts: they stay the same."""
        if hasattr(self, "contexts"):
            self.contexts.replace(self._trusted())
        else:
            chain = self._settings.tls_cert or self.folder.peer
            self.contexts = Contexts(self._trusted(), chain, self._settings.tls_key, wall=self._clock.wall)
        self._look()

    def renewal_due(self) -> bool:
        """Whether this peer's certificate is to be replaced soon."""
        return self.valid.renewal_due(self.now())

    def _sign_own(self, authority: Authority) -> None:
        chain = self.sign(authority, self.request(), self.name, self.directory_id, self.hosts)
        self.folder.write_peer(chain.encode())
        LOGGER.info("signed a certificate for %s, valid for %g s", self.name, self._settings.certificate_seconds)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MachineUnusable(f"{path} cannot be read: {error.strerror}", hint="check the path") from None

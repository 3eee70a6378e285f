"""TLS contexts (TLS 1.3 only, RFC 8446), replaceable while connections stand, and what went wrong in words."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from raftchaos.errors import MachineUnusable
from raftchaos.identity.subjects import ORGANIZATION, misnamed, subject_of

_CLUSTER_CA: Final = (("organizationName", ORGANIZATION),)
_CLOCK: Final = {9: "not valid yet", 10: "not valid any more"}
_HOSTNAME: Final = 62
_NO_TLS: Final = "it does not speak TLS: it was started with --insecure, or is no raftchaos"
_REASONS: Final = (
    (
        "EXPIRED",
        "the other side says that our certificate has ended; this machine's clock says {clock}: compare clocks",
    ),
    ("BAD_CERTIFICATE", "the other side declines our certificate; if it is new, compare clocks: this one says {clock}"),
    ("UNKNOWN_CA", "the other side does not trust the CA of our certificate: it belongs to another cluster"),
    ("CERTIFICATE_REQUIRED", "the other side wants a certificate"),
    ("WRONG_VERSION", _NO_TLS),
    ("RECORD_LAYER", _NO_TLS),
    ("HTTP_REQUEST", _NO_TLS),
)
"""What the reason of an SSLError without a verify code says."""


def _context(protocol: int, authorities: bytes, chain: Path | None, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii"))
        if chain is not None:
            context.load_cert_chain(chain, key)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise MachineUnusable(
            f"the certificate {chain or ''} cannot be used: {getattr(error, 'reason', None) or error}",
            hint="see that the key belongs to the certificate, and that both are PEM",
        ) from None
    return context


def server_context(authorities: bytes, chain: Path, key: Path | None = None, *, required: bool) -> ssl.SSLContext:
    """What a port offers. `required`: whoever shows no certificate of these CAs gets nowhere; else it may show one."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, authorities, chain, key)
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    context.num_tickets = 0  # no resumption: every connection shows its certificate
    return context


def peer_context(authorities: bytes, chain: Path, key: Path | None = None) -> ssl.SSLContext:
    """With what a peer connects to another. Who answers is told from its certificate afterwards, not by a host name."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, authorities, chain, key)
    context.check_hostname = False
    return context


def client_context(authorities: bytes, chain: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """With what a caller connects to the API.

    The CA of a cluster signs servers of that cluster only, so any of them will do, by whatever address it is reached.
    Of another CA the host name counts.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, authorities, chain, key)
    subjects: list[Any] = [certificate["subject"] for certificate in context.get_ca_certs()]
    context.check_hostname = not (subjects and all(_CLUSTER_CA in subject for subject in subjects))
    return context


class Contexts:
    """The contexts of one peer, and how it judges others.

    `server` and `api` are given to the listening ports once and stay the same objects: each handshake takes the newest
    certificate. `client` is read at each attempt.
    """

    def __init__(
        self, authorities: bytes, chain: Path, key: Path | None = None, *, wall: Callable[[], float] = time.time
    ) -> None:
        self.revoked: Callable[[str], bool] = lambda directory: False
        """Whether the peer with this data directory was removed."""
        self._files, self._wall = (chain, key), wall
        self.replace(authorities)
        self.server = self._entrance(required=True)
        self.api = self._entrance(required=False)

    def replace(self, authorities: bytes) -> None:
        """Take the files and these CAs into use for new connections; those that stand stay. Raises MachineUnusable."""
        chain, key = self._files
        client = peer_context(authorities, chain, key)
        inside = {required: server_context(authorities, chain, key, required=required) for required in (True, False)}
        self.client, self._inside, self.authorities = client, inside, authorities
        self.leaf = ssl.PEM_cert_to_DER_cert(_leaf(chain.read_text()))

    def misnamed(self, certificate: Mapping[str, Any] | None, cluster: str, name: str, directory: str | None) -> str:
        """Why the holder of this verified certificate may not speak as that peer; empty if it may. See `misnamed`."""
        return misnamed(subject_of(certificate), cluster=cluster, name=name, directory=directory)

    def explain(self, error: BaseException) -> str:
        """Why a connection failed, in words; empty if it was no matter of TLS."""
        return explain(error, self._wall())

    def _entrance(self, *, required: bool) -> ssl.SSLContext:
        chain, key = self._files
        entrance = server_context(self.authorities, chain, key, required=required)

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            connection.context = self._inside[required]

        entrance.sni_callback = choose
        return entrance


def _leaf(pem: str) -> str:
    begin, end = pem.index("-----BEGIN CERTIFICATE-----"), "-----END CERTIFICATE-----"
    return pem[begin : pem.index(end, begin) + len(end)] + "\n"


def explain(error: BaseException, now: float) -> str:
    """Why a TLS connection failed, in words; empty if it is no matter of TLS. `now` is this machine's wall clock."""
    if not isinstance(error, ssl.SSLError):
        return ""
    code = getattr(error, "verify_code", 0)
    clock = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%MZ")
    reason = str(getattr(error, "reason", "") or error)
    if code in _CLOCK:
        return (
            f"its certificate is {_CLOCK[code]} by the clock of this machine, which says {clock}: compare the clocks "
            "of both machines"
        )
    if code == _HOSTNAME:
        return "its certificate does not hold the host name by which it was called"
    if code:
        return "its certificate is of a CA that is not trusted here: that of another cluster, or one that was replaced"
    told = next((text for word, text in _REASONS if word in reason), "no TLS connection could be made ({reason})")
    return told.format(clock=clock, reason=reason)

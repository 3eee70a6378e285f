"""The certificate with which a proxy ends TLS, so that the faults of what is spoken within can be done."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path
from typing import Final

from raftchaos.errors import RaftchaosError, UsageError
from raftchaos.identity.private import check_private

log = logging.getLogger(__name__)
_PROTOCOLS: Final = ["http/1.1", "h2"]  # the service gets what the client speaks: HTTP/2 only who knows nothing else


def check_certificate(certificate: str, key: str) -> None:
    """Raises UsageError or MachineUnusable if a proxy cannot end TLS with these files, saying which and why."""
    if bool(certificate) != bool(key):
        raise UsageError("found a certificate without its key, or a key alone, expected both or none")
    if certificate:
        _load(_context(), certificate, key)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_PROTOCOLS)
    return context


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    for path in (certificate, key):
        if not os.path.isabs(path):
            raise UsageError(f"found the path {path[:200]!r}, expected an absolute one, on the peer's machine")
        try:
            with open(path, "rb") as file:
                file.read(1)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    check_private(Path(key))
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = str(getattr(error, "reason", "") or "")
        said = "the key does not belong to the certificate" if "MISMATCH" in reason else reason or "no PEM"
        raise UsageError(
            f"{certificate} with the key {key} cannot be used: {said}",
            hint="expected a chain in PEM, the service's certificate first, and its key in PEM without a password",
        ) from None


class Termination:
    """TLS 1.2 and later with a certificate whose files may be replaced: new connections get what is in them then."""

    def __init__(self, certificate: str, key: str) -> None:
        """Files that cannot be used are logged, and connections are declined until they can be."""
        self._files = (certificate, key)
        self._seen: tuple[int, ...] = ()
        self.context = _context()
        """For the listener; stays the same object."""
        self.refresh()

    def refresh(self) -> None:
        """Look whether the files have changed."""
        try:
            seen = tuple(os.stat(path).st_mtime_ns for path in self._files)
        except OSError:
            return  # being replaced, or gone: what was loaded stays
        if seen == self._seen:
            return
        self._seen = seen
        try:
            _load(_context(), *self._files)  # first, as a key that does not match would spoil what is in use
            _load(self.context, *self._files)
        except RaftchaosError as error:
            log.error("a proxy goes on with the certificate that it had: %s", error)

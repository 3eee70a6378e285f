"""The ways to a peer: the local user's Unix socket, TLS for who has credentials, plain HTTP for a laboratory."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from raftchaos.errors import RaftchaosError, Refused, Unreachable
from raftchaos.identity.local import socket_of
from raftchaos.identity.tls import client_context

if TYPE_CHECKING:
    import aiohttp


class NotSent(RaftchaosError):
    """The request did not reach the peer: it certainly did nothing."""

    spec = Unreachable.spec


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who calls, and by what he recognises the cluster. They are shown to that cluster only."""

    token: str = ""
    fingerprint: str = ""
    """Of the cluster's CA; empty if `authorities` says it."""
    authorities: str = ""
    """The CAs to trust, PEM."""
    certificate: Path | None = None
    """File with the caller's certificate and key, instead of a token."""
    socket: Path | None = None
    """This Unix socket and no other way, for a user whose peer it is."""

    def __repr__(self) -> str:
        return f"Credentials({'a token' if self.token else self.certificate or self.socket})"

    @classmethod
    def of(cls, text: str, authorities: str = "") -> Credentials:
        """The credentials in `TOKEN@FINGERPRINT`, as `raftchaos token create` prints it."""
        token, _, fingerprint = text.strip().partition("@")
        return cls(token, fingerprint, authorities)


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach one peer."""

    session: aiohttp.ClientSession
    url: str
    headers: dict[str, str]


class Ways:
    """Sessions by the way they take; opened on first use. `close` when done; it may be used again."""

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._tls: ssl.SSLContext | None = None

    async def close(self) -> None:
        """Closes all connections."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    async def to(self, address: str) -> Way:
        """The way to the peer at `HOST:PORT`. Raises NotSent, and Refused if it is of another cluster."""
        import aiohttp

        if self._credentials is not None and self._credentials.socket is None:
            tls = await self._context(address, self._credentials)
            if "tls" not in self._sessions:
                self._sessions["tls"] = _session(aiohttp.TCPConnector(ssl=tls))
            token = self._credentials.token
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return Way(self._sessions["tls"], f"https://{address}", headers)
        local = socket_of(address) if self._credentials is None else self._credentials.socket
        key = str(local or "")
        if key not in self._sessions:
            connector = aiohttp.TCPConnector() if local is None else aiohttp.UnixConnector(path=key)
            self._sessions[key] = _session(connector)
        return Way(self._sessions[key], f"http://{address}", {})

    async def _context(self, address: str, credentials: Credentials) -> ssl.SSLContext:
        if self._tls is None:
            authorities = credentials.authorities.encode()
            if not authorities:
                authorities = await authorities_of(address, credentials.fingerprint)
            self._tls = client_context(authorities, credentials.certificate)
        return self._tls


async def authorities_of(address: str, fingerprint: str) -> bytes:
    """The CA with this fingerprint, as the peer shows it; nothing is told to a peer of another cluster."""
    from raftchaos.identity.joining import authority_of

    if not fingerprint:
        raise Refused(
            "the token does not say which cluster it is for",
            hint="give it whole, as TOKEN@FINGERPRINT, or `raftchaos login HOST:PORT --ca FILE`",
        )
    host, _, port = address.rpartition(":")
    try:
        return await authority_of(host.strip("[]"), int(port), fingerprint, now=time.time())
    except Unreachable as error:
        raise NotSent(error.message) from error


def _session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    import aiohttp

    return aiohttp.ClientSession(connector=connector, headers={"User-Agent": "raftchaos"}, trust_env=False)

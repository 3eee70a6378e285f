"""What the API asks about tokens and certificates, answered by a peer with TLS, and by one without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from raftchaos.core.commands import Command, CreateJoinToken, CreateToken, RevokeToken, SpendJoinToken, TrustAuthority
from raftchaos.core.interfaces import Outcome
from raftchaos.core.service_records import IssuedToken, JoinRequest
from raftchaos.core.state import ClusterState
from raftchaos.errors import Refused
from raftchaos.identity.certificates import Authority, digest_of_key, host_names, key_of_request, pem_of
from raftchaos.identity.subjects import Subject
from raftchaos.identity.tokens import new_api_token, new_join_token
from raftchaos.peer.identity import PeerIdentity

Write = Callable[[Command], Awaitable[Outcome]]


@dataclass
class Access:
    """Implements `core.services.AccessServices`. `identity` is None with --insecure."""

    identity: PeerIdentity | None
    state: Callable[[], ClusterState]
    voters: Callable[[], tuple[str, ...]]
    write: Write

    @property
    def certificate(self) -> bytes:
        """See AccessServices."""
        return self.identity.contexts.leaf if self.identity is not None else b""

    async def create_token(self, name: str, role: str, seconds: float) -> IssuedToken:
        """See AccessServices."""
        token = new_api_token()
        fingerprint = self._secure().fingerprint
        outcome = await self.write(CreateToken(token.id, name, role, token.digest, seconds))
        return IssuedToken(token.id, f"{token.text}@{fingerprint}", outcome.result["expires"])

    async def create_certificate(self, name: str, role: str, seconds: float, request: str) -> tuple[str, str]:
        """See AccessServices."""
        identity, authority, kept = self._secure(), self.signer(), new_api_token()
        # What names the certificate in lists is a token whose secret nobody has been told.
        subject = Subject(identity.cluster, role, (name,), kept.id)
        chain = authority.sign(request.encode(), subject, hosts=[], now=identity.now(), seconds=seconds).decode()
        await self.write(CreateToken(kept.id, name, role, kept.digest, seconds))
        return chain, identity.contexts.authorities.decode()

    async def create_join_token(self, seconds: float, single: bool) -> IssuedToken:
        """See AccessServices."""
        token = new_join_token(self._secure().fingerprint)
        outcome = await self.write(CreateJoinToken(token.id, token.public, seconds, single))
        return IssuedToken(token.id, token.text, outcome.result["expires"])

    async def revoke_token(self, token: str) -> str:
        """See AccessServices."""
        return str((await self.write(RevokeToken(token))).result["id"])

    async def rotate(self) -> str:
        """See AccessServices."""
        identity = self._secure()
        self.signer()
        authority = Authority.create(identity.cluster, identity.now())
        await asyncio.to_thread(identity.folder.write_authority, authority)
        await self.write(TrustAuthority(authority.fingerprint, pem_of(authority.certificate).decode()))
        return authority.fingerprint

    # ---- joining

    async def spend(self, request: JoinRequest) -> None:
        """The joiner has proved that it has the token: is it good for it? Raises Unauthenticated."""
        await self.write(SpendJoinToken(request.token, request.name, request.directory))

    def check(self, request: JoinRequest) -> JoinRequest:
        """The request with the hash of its key, before anything is written for it. Raises Refused for a peer that was
        removed and if this peer cannot sign for it, UsageError for what cannot stand in a certificate."""
        if request.directory in self.state().access.revoked:
            raise Refused(
                f"the data directory of {request.name} belonged to a node that was removed",
                hint="give it an empty one with --data-dir",
            )
        if self.identity is None or not request.certificate_request:
            return request
        self.signer()
        host_names(request.hosts)
        key = key_of_request(request.certificate_request.encode())
        return replace(request, key=digest_of_key(key))

    def signer(self) -> Authority:
        """The CA that signs, with its key. Raises Refused, with the peers that have it."""
        identity = self._secure()
        if identity.own_ca:
            raise Refused("the certificates of this cluster are of its owner's CA", hint="have that CA sign it")
        access, nodes = self.state().access, self.state().nodes
        authority = identity.signer(access.signer) if access.signer else identity.signer()
        if authority is None:
            others = [nodes[name].api_address for name in self.voters() if name in nodes and name != identity.name]
            raise Refused(
                f"{identity.name} does not have the key of the CA (yet)",
                hint=f"ask {' or '.join(others) or 'a voter'}",
                details={"ask": others},
            )
        return authority

    def sign(self, request: JoinRequest) -> tuple[str, str]:
        """The joiner's certificate and the CAs to trust, both PEM; empty if it asks for none."""
        if self.identity is None or not request.certificate_request:
            return "", ""
        chain = self.identity.sign(
            self.signer(), request.certificate_request, request.name, request.directory, request.hosts
        )
        return chain, self.identity.contexts.authorities.decode()

    def _secure(self) -> PeerIdentity:
        if self.identity is None:
            raise Refused(
                "this cluster runs with --insecure: it has no certificates, and its tokens would protect nothing",
                hint="make a secure cluster: start peers without --insecure",
            )
        return self.identity

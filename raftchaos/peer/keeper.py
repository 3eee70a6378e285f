"""Keeps a peer's certificates good while it runs: trusts what the cluster trusts, fetches CA keys as a voter, renews in
time, tells the cluster what it has, and as the leader brings the replacement of a CA to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from raftchaos.agent.mailbox import Mailbox
from raftchaos.core.commands import Command, DropAuthority, ReportIdentity, SignWith, TrustAuthority, encode
from raftchaos.core.interfaces import ReplicatedLog
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.state import ClusterState
from raftchaos.errors import RaftchaosError
from raftchaos.identity.certificates import Authority, cluster_of, key_bytes, pem_of, split
from raftchaos.peer.identity import PeerIdentity

LOGGER = logging.getLogger(__name__)
TICK: Final = 1.0  # how often it looks, whatever happens
ASK_KEY, KEY = "identity.ask-key", "identity.key"
ASK_CERTIFICATE, CERTIFICATE = "identity.ask-certificate", "identity.certificate"


class IdentityKeeper:
    """One for each secure peer. `run` until cancelled."""

    def __init__(
        self,
        identity: PeerIdentity,
        *,
        log: ReplicatedLog,
        mailbox: Mailbox,
        state: Callable[[], ClusterState],
        request_ids: RequestIds,
        incarnation: int,
    ) -> None:
        self._identity, self._log, self._state = identity, log, state
        self._request_ids, self._incarnation = request_ids, incarnation
        self._wake = asyncio.Event()
        self._asks = False
        self._answered = ""
        self._problem = ""
        self._tidied = False
        identity.contexts.revoked = lambda directory: directory in self._state().access.revoked
        mailbox.register(ASK_KEY, {"fingerprint": str}, self._on_ask_key)
        mailbox.register(KEY, {"fingerprint": str, "key": str}, self._on_key)
        mailbox.register(ASK_CERTIFICATE, {"request": str, "hosts": list}, self._on_ask_certificate)
        mailbox.register(CERTIFICATE, {"chain": str}, self._on_certificate)
        log.on_applied(self._wake.set)

    async def run(self) -> None:
        """Look whenever something was applied, and every second."""
        while True:
            self._wake.clear()
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - certificates end in days: no reason to end a peer now
                self._tell(str(error) or type(error).__name__, None if _usual(error) else error)
            else:
                self._tell("")
            await asyncio.sleep(TICK / 10)  # many commands are one look
            try:
                async with asyncio.timeout(TICK):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _tell(self, problem: str, unusual: BaseException | None = None) -> None:
        """Says what is wrong, once."""
        if problem and problem != self._problem:
            told = "the certificates of this peer are not as they should be: %s"
            LOGGER.warning(told, problem, exc_info=unusual)
        self._problem = problem

    async def _look(self) -> None:
        if self._identity.own_ca:
            await asyncio.to_thread(self._identity.reload_changed)
            return
        if not self._log.status().ready:
            # The state is older than what is on disk, so nothing on disk is changed by it.
            if self._identity.renewal_due():
                await self._renew(self._identity.fingerprint)
            return
        access = self._state().access
        if not self._ours():
            await self._found()
            return
        trusted = {key: one.certificate for key, one in access.authorities.items()}
        if await asyncio.to_thread(self._identity.trust, trusted):
            LOGGER.info("trusts the CAs %s", ", ".join(key[:16] for key in trusted))
        if not self._tidied:  # of a CA that came to nothing before the last start
            self._identity.folder.keep_keys(self._identity.folder.authorities())
            self._tidied = True
        self._fetch_keys(list(trusted))
        if self._identity.renewal_due() or self._identity.fingerprint != access.signer:
            await self._renew(access.signer)
        await self._report()
        if self._log.status().leader_ready and len(trusted) > 1:
            await self._rotate()

    # ---- the first CA

    def _ours(self) -> bool:
        """Whether the state knows a CA of this cluster."""
        authorities = self._state().access.authorities
        return any(
            cluster_of(split(one.certificate.encode())[0]) == self._identity.cluster for one in authorities.values()
        )

    async def _found(self) -> None:
        """The peer that made the CA tells the others of it once it leads."""
        authority = self._identity.signer()
        if authority is not None and self._log.status().leader_ready:
            certificate = pem_of(authority.certificate).decode()
            await self._propose(TrustAuthority(authority.fingerprint, certificate, only=True))

    # ---- keys of CAs: for voters only, over Raft connections only

    def _fetch_keys(self, trusted: list[str]) -> None:
        if self._identity.name not in self._log.status().quorum.voters:
            self._identity.folder.keep_keys()
            return
        for fingerprint in trusted:
            if self._identity.signer(fingerprint) is None:
                self._ask_others({"type": ASK_KEY, "fingerprint": fingerprint})

    def _ask_others(self, message: dict[str, Any]) -> None:
        for name in self._log.status().quorum.reachable:
            if name != self._identity.name:
                self._log.send(name, message)

    def _on_ask_key(self, sender: str, message: dict[str, Any]) -> None:
        if sender not in self._log.status().quorum.voters or self._identity.own_ca:
            LOGGER.warning("%s asks for the key of the CA and does not vote", sender)
            return
        authority = self._identity.signer(message["fingerprint"])
        if authority is not None:
            key = key_bytes(authority.key).decode()
            self._log.send(sender, {"type": KEY, "fingerprint": authority.fingerprint, "key": key})

    def _on_key(self, sender: str, message: dict[str, Any]) -> None:
        fingerprint = message["fingerprint"]
        known = self._state().access.authorities.get(fingerprint)
        if known is None or self._identity.own_ca or self._identity.signer(fingerprint) is not None:
            return
        try:
            certificate = split(known.certificate.encode())[0]
            authority = Authority.load(certificate, message["key"].encode(), f"what {sender} sent")
            self._identity.folder.write_authority(authority)
        except RaftchaosError as error:
            LOGGER.warning("cannot take the key of the CA from %s: %s", sender, error)
            return
        LOGGER.info("has the key of the CA %s from %s", fingerprint[:16], sender)
        self._wake.set()

    # ---- the peer's own certificate

    async def _renew(self, signer: str) -> None:
        authority = self._identity.signer(signer)
        if authority is not None:
            await asyncio.to_thread(self._identity.renew, authority)
        elif self._answered:
            chain, self._answered = self._answered, ""
            await asyncio.to_thread(self._identity.take, chain)
            LOGGER.info("has a new certificate")
        else:
            self._asks = True
            request = self._identity.request()
            self._ask_others({"type": ASK_CERTIFICATE, "request": request, "hosts": self._identity.hosts})

    def _on_ask_certificate(self, sender: str, message: dict[str, Any]) -> None:
        """A member asks for itself: who it is the connection says, not the request."""
        node = self._state().nodes.get(sender)
        authority = self._identity.signer(self._state().access.signer)
        if node is None or authority is None or self._identity.own_ca:
            return
        try:
            chain = self._identity.sign(authority, message["request"], sender, node.directory, message["hosts"])
        except RaftchaosError as error:
            LOGGER.warning("%s asks for a certificate: %s", sender, error)
            return
        self._log.send(sender, {"type": CERTIFICATE, "chain": chain})

    def _on_certificate(self, sender: str, message: dict[str, Any]) -> None:
        """Several may answer, and late: the first certificate that is for this peer counts."""
        if not self._asks:
            return
        try:
            self._identity.check(message["chain"], self._identity.folder.authorities())
        except RaftchaosError as error:
            LOGGER.warning("cannot take the certificate that %s sent: %s", sender, error)
            return
        self._asks, self._answered = False, message["chain"]
        self._wake.set()

    async def _report(self) -> None:
        state, name = self._state(), self._identity.name
        node, known = state.nodes.get(name), state.access.identities.get(name)
        # A CA may sign once every voter has its key too: it must not be lost with the peer that made it.
        votes = name in self._log.status().quorum.voters
        trusts = sorted(one for one in state.access.authorities if not votes or self._identity.signer(one) is not None)
        issuer = self._identity.fingerprint
        same = known is not None and (list(known.trusts), known.issuer) == (trusts, issuer)
        if node is not None and node.incarnation == self._incarnation and not same:
            await self._propose(ReportIdentity(name, self._incarnation, trusts, issuer))

    # ---- the replacement of a CA

    async def _rotate(self) -> None:
        state = self._state()
        access = state.access
        newest, known = list(access.authorities)[-1], [access.identities.get(name) for name in state.nodes]
        if access.signer != newest:
            trusted = all(one is not None and newest in one.trusts for one in known)
            if trusted and self._identity.signer(newest) is not None:
                await self._propose(SignWith(newest))
        elif all(one is not None and one.issuer == newest for one in known):
            for old in [key for key in access.authorities if key != newest]:
                await self._propose(DropAuthority(old))

    async def _propose(self, command: Command) -> None:
        outcome = await self._log.propose(self._request_ids.next(), encode(command))
        if not outcome.result.get("ok"):
            LOGGER.debug("%s was declined: %s", command.kind, outcome.result.get("error"))


def _usual(error: Exception) -> bool:
    return isinstance(error, RaftchaosError | OSError)

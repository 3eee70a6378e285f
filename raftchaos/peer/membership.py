"""How a starting peer finds its cluster: from its data directory, by joining, or by founding one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raftchaos import limits
from raftchaos._version import VERSION
from raftchaos.agent.data_directory import DataDirectory, Identity
from raftchaos.agent.proxies import listen_on
from raftchaos.client import Client
from raftchaos.client.ways import Credentials
from raftchaos.config import PeerSettings, parse_address
from raftchaos.consensus.replica import Replica, ReplicaConfig
from raftchaos.core import releases
from raftchaos.core.interfaces import Outcome
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.meter import Meter, NullMeter
from raftchaos.errors import Busy, NoQuorum, OutcomeUnknown, Refused, Unreachable, UsageError
from raftchaos.identity.local import socket_of
from raftchaos.model.nodes import Node
from raftchaos.peer.identity import CertificateEnded, PeerIdentity
from raftchaos.peer.joining import ask_with_token

LOGGER = logging.getLogger(__name__)


class PeerReplica(Replica):
    """The replica of a peer: also measures how long its own proposals take, and holds back those of which other nodes
    would know nothing."""

    meter: Meter = NullMeter()
    nodes: Callable[[], Mapping[str, Node]] = staticmethod(dict)
    """The registry, once it is there."""

    async def propose(self, request_id: str, command: bytes, *, timeout: float = limits.WRITE_TIMEOUT) -> Outcome:
        """See ReplicatedLog. Raises Refused for a command that is newer than the release of some node."""
        releases.check(command, self.nodes())
        began = time.perf_counter()
        outcome = await super().propose(request_id, command, timeout=timeout)
        self.meter.committed(time.perf_counter() - began)
        return outcome

    def propose_as_leader(self, request_id: str, command: bytes, term: int) -> bool:
        """See ReplicatedLog. False also for a command that is newer than the release of some node."""
        try:
            releases.check(command, self.nodes())
        except Refused as error:
            LOGGER.debug("%s", error)
            return False
        return super().propose_as_leader(request_id, command, term)


def advertised(address: str, host: str | None) -> str:
    """The address under which others reach what listens at `address`."""
    own, port = parse_address(address, what="an address")
    shown = host or own
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"


async def open_replica(
    settings: PeerSettings, directory: DataDirectory, machine: ReplicatedState, keys: PeerIdentity | None
) -> PeerReplica:
    """The replica of this start, not yet started. Raises RaftchaosError with what stands in the way."""
    identity = directory.identity
    assert identity is not None
    known = identity.member or PeerReplica.exists(directory.path)
    _check_ports(settings, proxies=not known)
    if known:
        renewed = keys is not None and await _resume(settings, directory, keys)
        if settings.observer or (settings.join is not None and not renewed):
            told = "--join and --observer are ignored: %s says which cluster this peer belongs to, and whether it votes"
            LOGGER.info(told, directory.path)
        replica = PeerReplica.open(_config(settings, directory, identity.cluster, keys), machine)
    elif settings.join is not None:
        answer = await _ask_to_join(settings, identity, keys)
        config = _config(settings, directory, directory.adopt_cluster(answer["cluster"]).cluster, keys)
        replica = PeerReplica.join(config, machine, members=dict(answer["members"]))
    elif settings.observer:
        raise UsageError("an observer does not found a cluster", hint="name a peer of one with --join HOST:PORT")
    else:
        cluster = directory.adopt_cluster(uuid.uuid4().hex, founds=True).cluster
        if keys is not None:
            keys.found(cluster)
        replica = PeerReplica.create(_config(settings, directory, cluster, keys), machine)
        LOGGER.info("founded the cluster %s", cluster)
    directory.become_member()
    return replica


async def _resume(settings: PeerSettings, directory: DataDirectory, keys: PeerIdentity) -> bool:
    """Go on with the certificate of the last start; with --join get another one where it is good for nothing. Returns
    whether it did."""
    identity = directory.identity
    assert identity is not None
    try:
        keys.resume(identity.cluster)
    except CertificateEnded as error:
        if settings.join is None or keys.own_ca:
            raise
        LOGGER.info("asks for a new certificate: %s", error)
        answer = await _ask_to_join(settings, identity, keys)
        if answer["cluster"] != identity.cluster:
            raise Refused(
                f"{settings.join} belongs to the cluster {answer['cluster']}, this peer to {identity.cluster}",
                hint="name a peer of its own cluster, or give it an empty --data-dir",
            ) from None
        return True
    return False


async def wait_for_membership(
    settings: PeerSettings, directory: DataDirectory, replica: PeerReplica, keys: PeerIdentity | None
) -> None:
    """Returns once this peer votes or observes; asks again meanwhile, as the leader may have changed before it was let
    in. Raises NoQuorum after `limits.JOIN_TIMEOUT`, and Refused if it was a member once and the others say that it is
    none.
    """
    identity = directory.identity
    assert identity is not None
    try:
        async with asyncio.timeout(None if identity.voted else limits.JOIN_TIMEOUT):
            while not is_let_in(replica, identity):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(limits.JOIN_RETRY):
                        await replica.waiting.until(lambda: is_let_in(replica, identity))
                if identity.voted:
                    _check_removed(replica)
                elif not is_let_in(replica, identity) and settings.join is not None:
                    with contextlib.suppress(Unreachable, NoQuorum, Busy, OutcomeUnknown):
                        await _ask_to_join(settings, identity, keys)
    except TimeoutError:
        again = "start it again" if settings.join is not None else "start it with --join HOST:PORT of one of them"
        raise NoQuorum(
            f"{settings.name} was not let into the cluster within {limits.JOIN_TIMEOUT:g} s",
            hint=f"see that the other peers can reach its Raft address, then {again}",
        ) from None
    directory.let_in()


def is_let_in(replica: PeerReplica, identity: Identity) -> bool:
    """Whether this peer is a member. A newcomer is told the past first, in which another peer may have had its name:
    what counts for it is what came after the registry took it, with its data directory.
    """
    if not replica.raft.is_member:
        return False
    if identity.voted:  # it was let in before, or founded the cluster
        return True
    node = replica.nodes().get(identity.name)
    return node is not None and node.directory == identity.directory


def removed(name: str) -> Refused:
    """The error that ends a peer which is no member any more."""
    return Refused(
        f"{name} was removed from the cluster",
        hint="to let it join again, give it an empty data directory and --join",
    )


def _check_removed(replica: PeerReplica) -> None:
    """Raises Refused if its own log says that this peer is no member, and so do most of those who vote."""
    if not replica.raft.is_member and replica.refused:
        raise removed(replica.name)


async def _ask_to_join(settings: PeerSettings, identity: Identity, keys: PeerIdentity | None) -> dict[str, Any]:
    """What the cluster answers; with `keys` a certificate comes with it and is taken into use.

    Raises Refused if there is neither a token nor a peer of this user on this machine.
    """
    assert settings.join is not None
    body: dict[str, Any] = {
        "name": settings.name,
        "directory": identity.directory,
        "raftAddress": advertised(settings.raft_listen, settings.advertise),
        "apiAddress": advertised(settings.listen, settings.advertise),
        "version": VERSION,
        **({"observer": True} if settings.observer else {}),
    }
    if keys is None:
        async with Client([settings.join]) as client:
            return await client.join(body)
    body["hosts"] = keys.hosts
    if not keys.own_ca:
        body["request"] = keys.request()
    token = keys.join_token()
    if token is not None:
        answer = await ask_with_token(settings.join, token, body, now=keys.now(), trusted=keys.own_authorities())
    else:
        # Whoever takes its port on this machine is no peer of this user: the socket, or nothing.
        only = Credentials(socket=await _find_socket(settings.join))
        async with Client([settings.join], credentials=only) as client:
            answer = await client.join(body)
    keys.joined(answer["cluster"], answer.get("certificate", ""), answer.get("authorities", ""))
    return answer


async def _find_socket(address: str) -> Path:
    """The socket, once the peer at this address shows its socket to this user; on this machine it may be starting.

    Raises Unreachable, and Refused for an address elsewhere.
    """
    hint = "`raftchaos token create --join` on the machine of one of its peers prints the command to type here"
    host, _ = parse_address(address, what="--join")
    if socket_of(address) is None and host not in ("localhost", "127.0.0.1", "::1"):
        raise Refused(f"found no join token for the cluster at {address}", hint=hint)
    try:
        async with asyncio.timeout(limits.JOIN_START):
            while (found := socket_of(address)) is None:  # noqa: ASYNC110 - a file that another process makes
                await asyncio.sleep(limits.CONTROL_RETRY)
            return found
    except TimeoutError:
        raise Unreachable(f"found no peer of this user at {address}, and no join token", hint=hint) from None


def _check_ports(settings: PeerSettings, *, proxies: bool) -> None:
    """It could listen: before anybody is told of this peer, and before it founds a cluster for nothing. The ports of
    proxies may be open in a proxy process that the last start has left. Raises MachineUnusable."""
    listens = [listen for _, listen, *_ in settings.proxies] if proxies else []
    if settings.toxiproxy_listen is not None:
        listens.append(settings.toxiproxy_listen)
    for address in (settings.listen, settings.raft_listen, *listens):
        listen_on(address).close()


def _config(settings: PeerSettings, directory: DataDirectory, cluster: str, keys: PeerIdentity | None) -> ReplicaConfig:
    identity = directory.identity
    assert identity is not None
    return ReplicaConfig(
        name=settings.name,
        cluster_id=cluster,
        directory_id=identity.directory,
        incarnation=identity.incarnation,
        data_dir=directory.path,
        listen=settings.raft_listen,
        advertise=advertised(settings.raft_listen, settings.advertise),
        durability=settings.durability,
        tls=keys.contexts if keys is not None else None,
    )

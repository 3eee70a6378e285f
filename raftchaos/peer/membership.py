"""How a starting peer finds its cluster: from its data directory, by joining, or by founding one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from typing import Any

from raftchaos import limits
from raftchaos._version import VERSION
from raftchaos.agent.data_directory import DataDirectory, Identity
from raftchaos.agent.proxies import listen_on
from raftchaos.client import Client
from raftchaos.config import PeerSettings, parse_address
from raftchaos.consensus.replica import Replica, ReplicaConfig
from raftchaos.core.interfaces import Meter, NullMeter, Outcome
from raftchaos.core.machine import ReplicatedState
from raftchaos.errors import Busy, NoQuorum, OutcomeUnknown, Unreachable

LOGGER = logging.getLogger(__name__)


class PeerReplica(Replica):
    """The replica of a peer: also measures how long its own proposals take."""

    meter: Meter = NullMeter()

    async def propose(self, request_id: str, command: bytes, *, timeout: float = limits.WRITE_TIMEOUT) -> Outcome:
        """See ReplicatedLog."""
        began = time.perf_counter()
        outcome = await super().propose(request_id, command, timeout=timeout)
        self.meter.committed(time.perf_counter() - began)
        return outcome


def advertised(address: str, host: str | None) -> str:
    """The address under which others reach what listens at `address`."""
    own, port = parse_address(address, what="an address")
    shown = host or own
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"


async def open_replica(settings: PeerSettings, directory: DataDirectory, machine: ReplicatedState) -> PeerReplica:
    """The replica of this start, not yet started. Raises RaftchaosError with what stands in the way."""
    identity = directory.identity
    assert identity is not None
    if identity.member or PeerReplica.exists(directory.path):
        if settings.join is not None:
            LOGGER.info("--join is ignored: %s says which cluster this peer belongs to", directory.path)
        replica = PeerReplica.open(_config(settings, directory, identity.cluster), machine)
    elif settings.join is not None:
        _check_ports(settings)
        answer = await _ask_to_join(settings, identity)
        config = _config(settings, directory, directory.adopt_cluster(answer["cluster"]).cluster)
        replica = PeerReplica.join(config, machine, members=dict(answer["members"]))
    else:
        cluster = directory.adopt_cluster(uuid.uuid4().hex).cluster
        replica = PeerReplica.create(_config(settings, directory, cluster), machine)
        LOGGER.info("founded the cluster %s", cluster)
    directory.become_member()
    return replica


async def wait_for_membership(settings: PeerSettings, identity: Identity, replica: PeerReplica) -> None:
    """Returns once this peer votes; asks again meanwhile, as the leader may have changed before it was let in.

    Raises NoQuorum after `limits.JOIN_TIMEOUT`.
    """
    if settings.join is None:
        return
    try:
        async with asyncio.timeout(limits.JOIN_TIMEOUT):
            while not replica.raft.is_voter:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(limits.JOIN_RETRY):
                        await replica.waiting.until(lambda: replica.raft.is_voter)
                if not replica.raft.is_voter:
                    with contextlib.suppress(Unreachable, NoQuorum, Busy, OutcomeUnknown):
                        await _ask_to_join(settings, identity)
    except TimeoutError:
        raise NoQuorum(
            f"{settings.name} was not let into the cluster within {limits.JOIN_TIMEOUT:g} s",
            hint="see that the other peers can reach its Raft address, then start it again",
        ) from None


async def _ask_to_join(settings: PeerSettings, identity: Identity) -> dict[str, Any]:
    assert settings.join is not None
    async with Client([settings.join]) as client:
        return await client.join(
            settings.name,
            identity.directory,
            advertised(settings.raft_listen, settings.advertise),
            advertised(settings.listen, settings.advertise),
            version=VERSION,
        )


def _check_ports(settings: PeerSettings) -> None:
    """Before anybody is told of this peer: it could listen. Raises MachineUnusable."""
    for address in (settings.listen, settings.raft_listen):
        listen_on(address).close()


def _config(settings: PeerSettings, directory: DataDirectory, cluster: str) -> ReplicaConfig:
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
    )

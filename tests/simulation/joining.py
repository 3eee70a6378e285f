"""How a simulated machine asks a peer to be let in; what it makes of the answer is `raftchaos.peer.membership`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from raftchaos import limits
from raftchaos.agent.data_directory import Identity
from raftchaos.core.service_records import JoinAnswer, JoinRequest
from raftchaos.errors import RaftchaosError, Unreachable

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.peer import PeerProcess

POLL = 0.05


class Settings(NamedTuple):
    """What `raftchaos.peer.membership` is told of a peer: it asks for its settings no more than this."""

    machine: Machine
    name: str
    join: str | None


def _ask(machine: Machine, identity: Identity, peer: PeerProcess) -> list[Any]:
    """Ask a peer through its API; the answer, or the error, is in the list once it is there."""
    answers: list[Any] = []
    address = f"{machine.name}:7481"
    request = JoinRequest(
        machine.name, identity.directory, address, f"{machine.name}:7480", machine.version, machine.observer
    )

    async def call() -> None:
        try:
            answers.append(await peer.services.join(request))
        except RaftchaosError as error:
            answers.append(error)

    peer.run(call())
    return answers


async def ask_once(settings: Settings, identity: Identity, keys: None = None) -> dict[str, Any]:
    """Stands in the place of `membership._ask_to_join`, and asks any peer. Raises what that one answers. The peers of
    the simulation have no keys."""
    machine = settings.machine
    peers = [peer for peer in machine.cluster.peers() if peer.machine is not machine]
    if not peers:
        raise Unreachable("no peer runs")
    peer = machine.chance.choice(peers)
    answers = _ask(machine, identity, peer)
    deadline = machine.boot() + limits.MEMBERSHIP_TIMEOUT
    while not answers and not peer.dead and machine.boot() < deadline:  # noqa: ASYNC110 - another loop
        await asyncio.sleep(POLL)
    answer = answers[0] if answers else Unreachable(f"{peer.name} does not answer")
    if isinstance(answer, JoinAnswer):
        return {"cluster": answer.cluster, "members": answer.members}
    raise answer


async def ask_to_join(settings: Settings, identity: Identity) -> dict[str, Any]:
    """Ask one peer after the other until one lets this machine in; a real peer is started again for that."""
    while True:
        try:
            return await ask_once(settings, identity)
        except RaftchaosError:
            await asyncio.sleep(settings.machine.chance.uniform(0.2, 1.0))

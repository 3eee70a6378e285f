"""How a simulated machine without a data directory becomes a member, as `raftchaos.peer.membership` does it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from raftchaos import limits
from raftchaos.core.services import JoinAnswer, JoinRequest
from raftchaos.errors import RaftchaosError

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.peer import PeerProcess

POLL = 0.05


def _ask(machine: Machine, peer: PeerProcess) -> list[Any]:
    """Ask a peer through its API; the answer, or the error, is in the list once it is there."""
    answers: list[Any] = []
    address = f"{machine.name}:7481"
    request = JoinRequest(
        machine.name, machine.directory, address, f"{machine.name}:7480", "simulated", machine.observer
    )

    async def call() -> None:
        try:
            answers.append(await peer.services.join(request))
        except RaftchaosError as error:
            answers.append(error)

    peer.run(call())
    return answers


async def ask_to_join(machine: Machine) -> JoinAnswer:
    """Ask one peer after the other until one lets this machine in."""
    while True:
        peers = [peer for peer in machine.cluster.peers() if peer.machine is not machine]
        if peers:
            peer = machine.chance.choice(peers)
            answers = _ask(machine, peer)
            deadline = machine.boot() + limits.MEMBERSHIP_TIMEOUT
            while not answers and not peer.dead and machine.boot() < deadline:  # noqa: ASYNC110 - another loop
                await asyncio.sleep(POLL)
            if answers and isinstance(answers[0], JoinAnswer):
                return answers[0]
        await asyncio.sleep(machine.chance.uniform(0.2, 1.0))


async def until_it_is_let_in(machine: Machine, peer: PeerProcess) -> None:
    """Ask again as long as the leader has not made it a member: it may have changed meanwhile."""
    raft = peer.replica.raft
    while not raft.is_member:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.JOIN_RETRY):
                await peer.replica.waiting.until(lambda: raft.is_member)
        if not raft.is_member:
            await ask_to_join(machine)

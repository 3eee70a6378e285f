"""Before a task is accepted its targets say whether they can; one that does not answer is named."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from raftchaos import limits
from raftchaos.agent.abilities import Abilities
from raftchaos.agent.mailbox import Mailbox
from raftchaos.consensus.twin import InMemoryNetwork, InMemoryReplica
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.request_ids import RequestIds
from raftchaos.errors import NotFound, Refused
from raftchaos.model.nodes import Node, NodeStatus
from raftchaos.model.resolved import (
    CoordinationMode,
    ResolvedFault,
    ResolvedOrchestration,
    ResolvedStep,
    SafetyLimits,
    TargetRule,
)


class Executor:
    """Says what it lacks, by the name of the step."""

    def __init__(self, lacking: dict[str, str]) -> None:
        self.lacking = lacking

    async def resolve(self, step: ResolvedStep) -> tuple[str, ...]:
        if step.name in self.lacking:
            raise NotFound(self.lacking[step.name])
        return ("thing:one",)


class Peers:
    def __init__(self, lacking: dict[str, dict[str, str]]) -> None:
        self.network = InMemoryNetwork()
        self.nodes = {name: Node(name, 1, "", "", "") for name in lacking}
        self.abilities: dict[str, Abilities] = {}
        for name, found in lacking.items():
            replica = InMemoryReplica(name, ReplicatedState(), self.network)
            executor: Any = Executor(found)
            self.abilities[name] = Abilities(
                name=name,
                log=replica,
                nodes=lambda: self.nodes,
                mailbox=Mailbox(replica),
                executor=lambda executor=executor: executor,
                request_ids=RequestIds(name, 1),
            )

    async def __aenter__(self) -> Peers:
        self.running = [asyncio.create_task(one.run()) for one in self.abilities.values()]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    async def check(self, document: ResolvedOrchestration, at: str = "a") -> None:
        await self.abilities[at].check(document, sorted(self.abilities))


def document(mode: CoordinationMode = CoordinationMode.PARALLEL, body: str = "") -> ResolvedOrchestration:
    steps = tuple(
        ResolvedStep(name, "http_error", (ResolvedFault("http_error", {"body": body}),), 1.0) for name in ("s", "t")
    )
    return ResolvedOrchestration("x", mode, TargetRule(), steps, SafetyLimits(), 60.0, 1)


async def test_every_target_can() -> None:
    async with Peers({"a": {}, "b": {}}) as peers:
        await peers.check(document(body="long" * 3000))


@pytest.mark.parametrize("at", ["a", "b", "c"])
async def test_one_that_cannot_do_a_step_refuses_the_whole(at: str) -> None:
    async with Peers({"a": {}, "b": {"t": "no interface eth9"}, "c": {}}) as peers:
        with pytest.raises(Refused, match="not every target can do the step 't': b: no interface eth9"):
            await peers.check(document(), at)


async def test_where_the_cluster_chooses_one_that_can_is_enough() -> None:
    async with Peers({"a": {"s": "no"}, "b": {"t": "no"}}) as peers:
        await peers.check(document(CoordinationMode.LEADER_ASSIGNED))
    async with Peers({"a": {"s": "no"}, "b": {"s": "never"}}) as peers:
        with pytest.raises(Refused, match="no target can do the step 's': a: no, b: never"):
            await peers.check(document(CoordinationMode.PEER_TO_PEER))


@pytest.mark.parametrize("at", ["a", "c"])
async def test_a_target_that_is_active_and_silent_refuses_the_whole(at: str) -> None:
    async with Peers({"a": {}, "b": {}, "c": {}}) as peers:
        peers.network.partition(["a", "c"], ["b"])
        with pytest.raises(Refused, match="'s': b: it is active and has not answered within"):
            await peers.check(document(), at)
        await peers.check(document(CoordinationMode.PEER_TO_PEER), at)


async def test_a_target_that_is_known_to_be_down_is_not_waited_for() -> None:
    async with Peers({"a": {}, "b": {}, "c": {}}) as peers:
        peers.network.partition(["a", "c"], ["b"])
        asking = asyncio.create_task(peers.check(document()))
        await asyncio.sleep(limits.CAN_LOOK)
        peers.nodes["b"] = dataclasses.replace(peers.nodes["b"], status=NodeStatus.FAILED)
        async with asyncio.timeout(limits.CAN_WAIT * 0.8):
            await asking


async def test_a_target_that_can_be_reached_in_a_moment_is_asked_then() -> None:
    async with Peers({"a": {}, "b": {"s": "no"}, "c": {}}) as peers:
        peers.network.partition(["a", "c"], ["b"])
        asking = asyncio.create_task(peers.check(document()))
        await asyncio.sleep(limits.CAN_LOOK)
        peers.network.heal()
        with pytest.raises(Refused, match="b: no"):
            await asking


async def test_without_a_quorum_nobody_is_waited_for() -> None:
    async with Peers({"a": {}, "b": {"s": "no"}}) as peers:
        peers.network.partition(["a"], ["b"])
        async with asyncio.timeout(limits.WRITE_TIMEOUT):
            await peers.check(document())
        assert await peers.abilities["a"].ask(document().steps, ["a", "b"]) == {"a": ("", "")}


async def test_a_damaged_question_is_not_answered_and_stops_nothing() -> None:
    async with Peers({"a": {}, "b": {"s": "no"}}) as peers:
        for steps in (["{"], ["[" * 2000] * 50):
            peers.abilities["b"]._on_ask("a", {"id": "1", "from": "a", "to": "b", "steps": steps})
        peers.abilities["a"]._on_answer("b", {"id": "nobody asked", "to": "a", "problems": []})
        assert await peers.abilities["a"].ask(document().steps, ["b"]) == {"b": ("no", "")}

"""Changes of the members: done whole or not at all, whatever leader is lost in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from raftchaos.agent.mailbox import Mailbox
from raftchaos.agent.membership import Membership
from raftchaos.core.commands import RegisterNode, RemoveNode, encode
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.services import JoinRequest
from raftchaos.errors import Conflict, NotFound, Refused, UsageError
from tests.unit.agent.lease_cluster import Cluster
from tests.unit.agent.virtual_time import run_virtually, until


class Members:
    """A cluster of registered voters a, b and c; a leads."""

    def __init__(self) -> None:
        self.cluster = Cluster("a", "b", "c")
        self.of: dict[str, Membership] = {}
        for name, log in self.cluster.logs.items():
            self.of[name] = Membership(
                log=log,
                mailbox=Mailbox(log),
                state=lambda log=log: log.machine.state,
                request_ids=RequestIds(name, 2),
            )
        self.cluster.elect("a")

    async def register(self) -> None:
        for name, log in self.cluster.logs.items():
            await log.propose(f"register-{name}", encode(RegisterNode(name, 1, f"dir-{name}", "", "")))
        await until(lambda: all(len(self.nodes(name)) == 3 for name in self.of))

    def nodes(self, at: str) -> list[str]:
        return sorted(self.cluster.logs[at].machine.state.nodes)

    @property
    def voters(self) -> list[str]:
        return sorted(self.cluster.voters)


def play(scenario: Callable[[Members], Awaitable[None]]) -> None:
    async def main() -> None:
        members = Members()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part.run()) for part in members.of.values()]
            await members.register()
            await scenario(members)
            for task in tasks:
                task.cancel()

    run_virtually(main)


def joining(name: str) -> JoinRequest:
    return JoinRequest(name, f"new-{name}", "127.0.0.1:1", "127.0.0.1:2", "")


def test_a_removed_node_leaves_the_registry_and_the_voters() -> None:
    async def scenario(members: Members) -> None:
        await members.of["b"].remove("c", timeout=5)
        assert (members.nodes("a"), members.voters) == (["a", "b"], ["a", "b"])
        with pytest.raises(NotFound):
            await members.of["b"].remove("c", timeout=5)

    play(scenario)


def test_the_leader_can_be_removed_through_itself() -> None:
    async def scenario(members: Members) -> None:
        await members.of["a"].remove("a", timeout=5)
        assert (members.nodes("b"), members.voters) == (["b", "c"], ["b", "c"])

    play(scenario)


def test_a_removal_that_would_stop_the_rest_changes_nothing() -> None:
    """Else the node would vote on, unknown to the registry, and could run nothing until it is started again."""

    async def scenario(members: Members) -> None:
        members.cluster.isolate("b")
        with pytest.raises(Refused, match="only 1 of 2 voters"):
            await members.of["a"].remove("c", timeout=5)
        assert (members.nodes("a"), members.voters) == (["a", "b", "c"], ["a", "b", "c"])
        await members.of["a"].remove("b", timeout=5)
        await members.of["a"].remove("c", timeout=5)
        with pytest.raises(Refused, match="last voter"):
            await members.of["a"].remove("a", timeout=5)

    play(scenario)


def test_a_removal_whose_answer_is_lost_with_its_leader_has_succeeded() -> None:
    async def scenario(members: Members) -> None:
        leader = members.cluster.logs["a"]
        said, leader.send = leader.send, lambda peer, message: message["type"] == "membership.answer"  # type: ignore[method-assign]
        removing = asyncio.create_task(members.of["b"].remove("c", timeout=10))
        await until(lambda: members.voters == ["a", "b"])
        leader.send = said  # type: ignore[method-assign]
        members.cluster.elect("b")
        await removing
        assert members.nodes("b") == ["a", "b"]

    play(scenario)


def test_a_removal_goes_on_under_the_next_leader() -> None:
    async def scenario(members: Members) -> None:
        async def deposed(name: str, *, timeout: float) -> None:
            members.cluster.elect("b")
            raise Conflict("a does not lead any more; the members did not change")

        members.cluster.logs["a"].remove_voter = deposed  # type: ignore[method-assign]
        await members.of["a"].remove("c", timeout=10)
        assert (members.nodes("b"), members.voters) == (["a", "b"], ["a", "b"])

    play(scenario)


def test_a_removal_that_nobody_asks_for_any_more_is_finished_by_the_leader() -> None:
    """Else a voter would go on counting that no list of nodes shows: its leader and who asked for it are both lost."""

    async def scenario(members: Members) -> None:
        await members.cluster.logs["a"].propose("half-a-removal", encode(RemoveNode("c")))
        await until(lambda: members.nodes("b") == ["a", "b"])
        await asyncio.sleep(5)
        assert members.voters == ["a", "b", "c"]
        members.cluster.elect("b")
        await until(lambda: members.voters == ["a", "b"], 60)

    play(scenario)


def test_nobody_joins_in_the_place_of_a_voter_that_is_half_removed() -> None:
    async def scenario(members: Members) -> None:
        async def failing(name: str, *, timeout: float) -> None:
            raise Refused("not now")

        leader = members.cluster.logs["a"]
        remove, leader.remove_voter = leader.remove_voter, failing  # type: ignore[method-assign]
        with pytest.raises(Refused, match="not now"):
            await members.of["b"].remove("c", timeout=5)
        with pytest.raises(Refused, match="still votes"):
            await members.of["b"].join(joining("c"), timeout=5)
        leader.remove_voter = remove  # type: ignore[method-assign]
        await members.of["b"].remove("c", timeout=5)
        await members.of["b"].join(joining("c"), timeout=5)
        await until(lambda: members.voters == ["a", "b", "c"])

    play(scenario)


def test_a_peer_that_tells_no_text_of_itself_is_refused() -> None:
    """JSON may hold half a surrogate pair, which nobody can write into the log."""

    async def scenario(members: Members) -> None:
        with pytest.raises(UsageError, match="directory"):
            await members.of["a"].join(JoinRequest("d", "x\ud800", "127.0.0.1:1", "127.0.0.1:2", ""), timeout=5)
        with pytest.raises(UsageError, match="name"):
            await members.of["a"].remove("c\ud800", timeout=5)

    play(scenario)


def test_a_removal_does_not_wait_for_a_peer_that_does_not_come() -> None:
    async def scenario(members: Members) -> None:
        tries: list[str] = []

        async def waiting(name: str, raft_address: str, *, timeout: float) -> None:
            tries.append(name)
            await asyncio.sleep(timeout)
            raise Refused("it did not connect")

        leader: Any = members.cluster.logs["a"]
        leader.add_voter = waiting
        await members.of["b"].join(joining("d"), timeout=5)
        await until(lambda: tries == ["d"])
        await members.of["b"].remove("c", timeout=2)
        assert (members.nodes("a"), members.voters) == (["a", "b", "d"], ["a", "b"])
        await until(lambda: tries == ["d", "d"])  # and then it goes on
        await members.of["b"].remove("d", timeout=2)
        await asyncio.sleep(60)
        assert (members.nodes("a"), tries) == (["a", "b"], ["d", "d"])

    play(scenario)

"""Changes of the members: done whole or not at all, whatever leader is lost in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from raftchaos.agent.mailbox import Mailbox
from raftchaos.agent.membership import Membership
from raftchaos.consensus.twin import InMemoryReplica
from raftchaos.core.callers import CALLER, Caller
from raftchaos.core.commands import AdmitNode, RegisterNode, RemoveNode, encode
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.service_records import JoinRequest
from raftchaos.errors import Conflict, NotFound, Refused, UsageError
from raftchaos.model.roles import Role
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

        members.cluster.logs["a"].remove_member = deposed  # type: ignore[method-assign]
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
        remove, leader.remove_member = leader.remove_member, failing  # type: ignore[method-assign]
        with pytest.raises(Refused, match="not now"):
            await members.of["b"].remove("c", timeout=5)
        with pytest.raises(Refused, match="still a member"):
            await members.of["b"].join(joining("c"), timeout=5)
        leader.remove_member = remove  # type: ignore[method-assign]
        await members.of["b"].remove("c", timeout=5)
        await members.of["b"].join(joining("c"), timeout=5)
        await until(lambda: members.voters == ["a", "b", "c"])

    play(scenario)


def test_a_join_token_alone_moves_no_member_to_another_address() -> None:
    async def scenario(members: Members) -> None:
        moved: list[str] = []
        leader: Any = members.cluster.logs["a"]
        leader.set_address = lambda name, address: moved.append(address)
        with_token = Caller("c", Role.VIEWER, "10.0.0.9", "join-token 1")
        for caller, address in ((with_token, "10.0.0.9:1"), (None, "10.0.0.1:1")):
            CALLER.set(caller)
            await members.of["b"].join(JoinRequest("c", "dir-c", address, "127.0.0.1:2"), timeout=5)
        assert moved == ["10.0.0.1:1"]
        CALLER.set(with_token)
        with pytest.raises(Conflict, match="does not have its key"):
            await members.of["b"].join(JoinRequest("c", "dir-c", "10.0.0.9:1", "", key="f" * 64), timeout=5)
        CALLER.set(None)

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


def newcomer(members: Members, name: str) -> None:
    """A peer that runs and waits to be let in."""
    InMemoryReplica(name, ReplicatedState(), members.cluster, voter=False)


def test_who_asks_for_no_vote_observes() -> None:
    async def scenario(members: Members) -> None:
        newcomer(members, "d")
        asked = JoinRequest("d", "new-d", "127.0.0.1:1", "127.0.0.1:2", "", observer=True)
        await members.of["b"].join(asked, timeout=5)
        await until(lambda: members.cluster.observers == {"d"})
        await members.of["b"].join(joining("d"), timeout=5)  # it asks again, and has forgotten what for
        await asyncio.sleep(5)
        assert (members.voters, members.cluster.observers) == (["a", "b", "c"], {"d"})
        await members.of["b"].promote("d", timeout=5)
        assert (members.voters, members.cluster.observers) == (["a", "b", "c", "d"], set())
        await members.of["b"].promote("d", timeout=5)

    play(scenario)


def test_the_eighth_peer_observes_and_is_not_promoted() -> None:
    async def scenario(members: Members) -> None:
        for name in "defghi":
            newcomer(members, name)
            await members.of["b"].join(joining(name), timeout=5)
        await until(lambda: members.cluster.observers == {"h", "i"})
        assert members.voters == list("abcdefg")
        with pytest.raises(Refused, match="7 voters, at most 7"):
            await members.of["b"].promote("h", timeout=5)
        await members.of["b"].remove("g", timeout=5)
        await members.of["b"].promote("h", timeout=5)
        assert (members.voters, members.cluster.observers) == (list("abcdefh"), {"i"})

    play(scenario)


def test_only_a_member_is_promoted() -> None:
    async def scenario(members: Members) -> None:
        with pytest.raises(NotFound, match="found no node 'x'"):
            await members.of["b"].promote("x", timeout=5)
        await members.of["b"].join(joining("d"), timeout=5)  # it never comes
        with pytest.raises(Refused, match="not a member yet"):
            await members.of["b"].promote("d", timeout=5)

    play(scenario)


def test_a_removed_observer_leaves_the_registry_and_the_members() -> None:
    async def scenario(members: Members) -> None:
        newcomer(members, "d")
        asked = JoinRequest("d", "new-d", "127.0.0.1:1", "127.0.0.1:2", "", observer=True)
        await members.of["b"].join(asked, timeout=5)
        await until(lambda: members.cluster.observers == {"d"})
        with pytest.raises(Conflict, match="directory"):
            await members.of["b"].join(JoinRequest("d", "another", "127.0.0.1:1", "127.0.0.1:2", "", True), timeout=5)
        await members.of["b"].remove("d", timeout=5)
        assert (members.nodes("a"), members.cluster.observers) == (["a", "b", "c"], set())
        await members.cluster.logs["a"].propose("half", encode(AdmitNode("d", "new-d", "127.0.0.1:1", "127.0.0.1:2")))
        members.cluster.observers.add("d")
        await members.cluster.logs["a"].propose("half-a-removal", encode(RemoveNode("d")))
        await until(lambda: members.cluster.observers == set(), 60)

    play(scenario)


def test_what_the_first_release_would_take_for_a_removal_is_not_said_to_it() -> None:
    """It knows one type of message, and takes all in it that is no join for a removal."""

    async def scenario(members: Members) -> None:
        said: list[dict[str, Any]] = []
        leader = members.cluster.logs["a"]
        leader.on_message(lambda sender, message: said.append(message))
        newcomer(members, "d")
        await members.of["b"].join(JoinRequest("d", "new-d", "127.0.0.1:1", "127.0.0.1:2", "", True), timeout=5)
        await until(lambda: members.cluster.observers == {"d"})
        await members.of["b"].promote("d", timeout=5)
        asked = [message["what"] for message in said if message["type"] == "membership.ask"]
        assert set(asked) <= {"join", "remove"}
        assert {message["what"] for message in said if message["type"] == "membership.wish"} == {"observe", "promote"}

    play(scenario)

"""What every ReplicatedLog promises: one suite for the in-memory twin and for real replicas on loopback."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from consensus_support import RealCluster, TwinCluster, eventually

from raftchaos import limits
from raftchaos.errors import Busy, Conflict, NoQuorum, NotFound, Refused

Cluster = RealCluster | TwinCluster


def a_follower(cluster: Cluster) -> Any:
    return next(each for each in cluster.replicas.values() if each.status().role != "leader")


async def without_majority(cluster: Cluster) -> Any:
    """Stop two of three; the one that is left knows that it leads nobody."""
    for replica in list(cluster.replicas.values())[:2]:
        await cluster.stop(replica.status().name)
    (left,) = cluster.replicas.values()
    await eventually(lambda: left.status().leader is None)
    return left


async def test_a_proposal_is_answered_with_what_apply_returned(either: Cluster) -> None:
    await either.grow("a")
    leader = await either.leader()
    first = await leader.propose("a:1:1", b"one")
    second = await leader.propose("a:1:2", b"two")
    assert (first.result, second.result) == ({"position": 1}, {"position": 2})
    assert second.index > first.index
    assert [entry.request_id for entry in either.machines["a"].entries] == ["a:1:1", "a:1:2"]
    assert all(entry.wall_ms > 1_600_000_000_000 and entry.term >= 1 for entry in either.machines["a"].entries)


async def test_a_proposal_through_a_follower_is_applied_there_when_it_returns(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    await either.leader()
    follower = a_follower(either)
    outcome = await follower.propose("f:1:1", b"from a follower")
    assert outcome.result == {"position": 1}
    assert either.machines[follower.status().name].commands == ["from a follower"]


async def test_the_same_request_twice_is_applied_once(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    leader, follower = await either.leader(), a_follower(either)
    answers = [await leader.propose("r:1:1", b"x"), await follower.propose("r:1:1", b"x")]
    assert [each.result for each in answers] == [{"position": 1}, {"position": 1}]
    together = await asyncio.gather(leader.propose("r:1:2", b"y"), leader.propose("r:1:2", b"y"))
    assert [each.result for each in together] == [{"position": 2}, {"position": 2}]


async def test_all_peers_apply_the_same_in_the_same_order(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    await either.leader()
    replicas = list(either.replicas.values())
    await asyncio.gather(*(replicas[i % 3].propose(f"p:{i}", b"%d" % i) for i in range(60)))
    await eventually(lambda: all(len(machine.commands) == 60 for machine in either.machines.values()))
    first, *others = (machine.entries for machine in either.machines.values())
    assert all(entries == first for entries in others)
    assert sorted(first) == first


async def test_a_read_barrier_shows_every_earlier_write(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    leader, follower = await either.leader(), a_follower(either)
    outcome = await leader.propose("w:1", b"written")
    assert await follower.read_barrier(timeout=5) >= outcome.index
    assert either.machines[follower.status().name].commands == ["written"]
    assert await leader.read_barrier(timeout=5) >= outcome.index


async def test_only_a_leader_is_confirmed(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    leader, follower = await either.leader(), a_follower(either)
    outcome = await leader.propose("w:1", b"written")
    both = await asyncio.gather(leader.confirm_leadership(timeout=5), leader.confirm_leadership(timeout=5))
    assert min(both) >= outcome.index
    with pytest.raises(NoQuorum):
        await follower.confirm_leadership(timeout=5)


async def test_without_a_majority_nothing_is_written_or_confirmed(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    await either.leader()
    left = await without_majority(either)
    with pytest.raises(NoQuorum) as caught:
        await left.propose("lost:1", b"never", timeout=0.2)
    assert caught.value.details["missing"] == 1
    assert len(caught.value.details["voters"]) == 3
    with pytest.raises(NoQuorum):
        await left.read_barrier(timeout=0.2)
    with pytest.raises(NoQuorum):
        await left.confirm_leadership(timeout=0.2)
    quorum = left.status().quorum
    assert (quorum.has_quorum, quorum.missing, len(quorum.reachable)) == (False, 1, 1)
    assert not left.status().ready


async def test_too_many_proposals_are_refused_at_once(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    await either.leader()
    left = await without_majority(either)
    waiting = [
        asyncio.ensure_future(left.propose(f"busy:{i}", b"x", timeout=0.5)) for i in range(limits.PROPOSALS_IN_FLIGHT)
    ]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await left.propose("busy:one more", b"x", timeout=0.5)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, NoQuorum) for result in results)


async def test_a_command_may_not_be_larger_than_its_limit(either: Cluster) -> None:
    await either.grow("a")
    leader = await either.leader()
    with pytest.raises(Refused):
        await leader.propose("big:1", b"x" * (limits.COMMAND + 1))
    assert (await leader.propose("big:2", b"x" * limits.COMMAND)).result == {"position": 1}


async def test_a_leaders_own_command_needs_its_term(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    leader, follower = await either.leader(), a_follower(either)
    term = leader.status().term
    assert not leader.propose_as_leader("l:1", b"x", term - 1)
    assert not leader.propose_as_leader("l:2", b"x", term + 1)
    assert not follower.propose_as_leader("l:3", b"x", term)
    assert leader.propose_as_leader("l:4", b"planned", term)
    await eventually(lambda: all(machine.commands == ["planned"] for machine in either.machines.values()))


async def test_messages_reach_a_peer_by_its_name(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    leader, follower = await either.leader(), a_follower(either)
    names = leader.status().name, follower.status().name
    got: list[tuple[str, str, dict[str, Any]]] = []
    leader.on_message(lambda sender, message: got.append((names[0], sender, message)))
    follower.on_message(lambda sender, message: got.append((names[1], sender, message)))
    assert follower.send(names[0], {"ping": 1})
    assert leader.send(names[0], {"self": 2})
    assert not leader.send("nobody", {"lost": 3})
    assert got == []
    await eventually(lambda: len(got) == 2)
    assert sorted(got, key=lambda each: each[1] == names[0]) == [
        (names[0], names[1], {"ping": 1}),
        (names[0], names[0], {"self": 2}),
    ]


async def test_whoever_asked_is_told_of_entries_and_changes(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    leader, follower = await either.leader(), a_follower(either)
    applied, changed = [], []
    follower.on_applied(lambda: applied.append(follower.status().applied_index))
    follower.on_change(lambda: changed.append(follower.status().leader))
    outcome = await leader.propose("w:1", b"x")
    await eventually(lambda: bool(applied) and applied[-1] >= outcome.index)
    await either.stop(leader.status().name)
    await eventually(lambda: any(each not in (None, leader.status().name) for each in changed))


async def test_a_lost_leader_is_replaced_and_writes_go_on(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    leader = await either.leader()
    term, follower = leader.status().term, a_follower(either)
    await follower.propose("w:1", b"before")
    await either.stop(leader.status().name)
    outcome = await follower.propose("w:2", b"after", timeout=5)
    assert outcome.result == {"position": 2}
    new = await either.leader()
    assert new.status().term > term


async def test_members_are_added_and_removed_by_the_leader(either: Cluster) -> None:
    await either.grow("a", "b")
    leader, follower = await either.leader(), a_follower(either)
    with pytest.raises(Conflict):
        await follower.add_voter("c", "127.0.0.1:1", timeout=1)
    await leader.propose("w:1", b"before it came")
    await either.add("c")
    assert leader.status().quorum.voters == ("a", "b", "c")
    await eventually(lambda: either.machines["c"].commands == ["before it came"])
    name = follower.status().name
    await leader.remove_member(name, timeout=5)
    assert leader.status().quorum.voters == tuple(sorted({"a", "b", "c"} - {name}))
    with pytest.raises(NotFound):
        await leader.remove_member(name, timeout=1)
    await leader.propose("w:2", b"after it left")


async def test_a_peer_that_does_not_answer_is_not_added(either: Cluster) -> None:
    await either.grow("a")
    leader = await either.leader()
    with pytest.raises(Refused):
        await leader.add_voter("ghost", "127.0.0.1:9", timeout=0.3)
    assert leader.status().quorum.voters == ("a",)
    await leader.propose("w:1", b"it did no harm")


async def test_the_last_voter_and_a_needed_one_are_not_removed(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    leader = await either.leader()
    followers = [name for name, each in either.replicas.items() if each.status().role != "leader"]
    await either.stop(followers[0])
    await eventually(lambda: len(leader.status().quorum.reachable) == 2)
    with pytest.raises(Refused):
        await leader.remove_member(followers[1], timeout=2)
    await leader.remove_member(followers[0], timeout=2)
    await leader.remove_member(followers[1], timeout=2)
    with pytest.raises(Refused):
        await leader.remove_member(leader.status().name, timeout=2)


async def test_a_leader_hands_over_and_may_then_leave(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    leader = await either.leader()
    name, term = leader.status().name, leader.status().term
    assert await leader.transfer_leadership(timeout=5)
    new = await either.leader()
    assert new.status().name != name
    assert new.status().term > term
    await new.remove_member(new.status().name, timeout=5)
    third = await either.leader()
    await eventually(lambda: third.status().quorum.voters == tuple(sorted({"a", "b", "c"} - {new.status().name})))
    assert await new.transfer_leadership(timeout=0.1) is False

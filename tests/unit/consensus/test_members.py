"""Real replicas: members that join, leave, move and come back."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from pathlib import Path

import pytest
from consensus_support import Machine, RealCluster, eventually, write

from raftchaos.consensus.replica import Replica
from raftchaos.errors import Conflict, NoQuorum, Refused
from raftchaos.launch import free_port


async def test_a_cluster_of_five_grows_one_by_one(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c", "d", "e")
    await write(cluster, 20)
    leader = await cluster.settled()
    assert leader.status().quorum.voters == ("a", "b", "c", "d", "e")
    assert all(len(machine.commands) == 20 for machine in cluster.machines.values())


async def test_a_new_peer_of_an_old_cluster_starts_from_a_snapshot(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path, entries_before_snapshot=30)
    try:
        await cluster.grow("a")
        await write(cluster, 300)
        leader = await cluster.leader()
        await eventually(lambda: leader.raft.log.first_index > 1)
        await cluster.add("b")
        await cluster.settled()
        assert cluster.machines["b"].commands == cluster.machines["a"].commands
        assert cluster.replicas["b"].members == leader.members
    finally:
        await cluster.close()


async def test_a_joiner_waits_to_be_added_and_survives_a_restart_meanwhile(cluster: RealCluster) -> None:
    await cluster.grow("a")
    leader = await cluster.leader()
    await cluster.expect("b", leader.members)
    await cluster.stop("b")
    joiner = await cluster.restart("b")
    assert not joiner.raft.is_voter
    with pytest.raises(NoQuorum):
        await joiner.propose("b:1", b"x", timeout=0.1)
    await leader.add_voter("b", cluster.addresses["b"], timeout=5)
    await eventually(lambda: joiner.status().quorum.voters == ("a", "b"))
    await leader.add_voter("b", cluster.addresses["b"], timeout=5)  # again: nothing to do
    with pytest.raises(Conflict):
        await leader.add_voter("b", "127.0.0.1:1", timeout=5)
    assert (await joiner.propose("b:2", b"x")).result == {"position": 1}


async def test_a_removed_peer_knows_it_and_can_come_back_as_a_new_one(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    leader = await cluster.leader()
    name = cluster.followers()[0]
    leaving = cluster.replicas[name]
    changes: list[bool] = []
    leaving.on_change(lambda: changes.append(leaving.removed))
    await leader.remove_member(name, timeout=5)
    await eventually(lambda: leaving.removed)
    await eventually(lambda: bool(changes) and changes[-1])
    await eventually(lambda: not leader.raft.extras)
    await cluster.stop(name)
    (cluster.root / name).rename(cluster.root / "old")
    await cluster.add(name)
    await cluster.settled()
    assert (await cluster.leader()).status().quorum.voters == ("a", "b", "c")


async def test_a_peer_that_missed_the_new_member_still_elects_it(cluster: RealCluster) -> None:
    await cluster.grow("a", "b")
    leader = await cluster.leader()
    (behind,) = cluster.followers()
    await cluster.stop(behind)
    await cluster.expect("c", leader.members)
    await leader.add_voter("c", cluster.addresses["c"], timeout=5)
    await leader.propose("w:1", b"with the new one")
    await cluster.stop(leader.name)
    await cluster.restart(behind)
    new = await cluster.leader()
    assert new.name == "c"
    await cluster.settled()
    assert cluster.machines[behind].commands == ["with the new one"]
    assert cluster.replicas[behind].status().quorum.voters == ("a", "b", "c")


@pytest.mark.parametrize("long", [False, True])
async def test_a_peer_that_was_away_when_it_was_removed_learns_it(cluster: RealCluster, long: bool) -> None:
    await cluster.grow("a", "b", "c", "d")
    leader = await cluster.leader()
    name = cluster.followers()[0]
    await cluster.stop(name)
    await leader.remove_member(name, timeout=5)
    if long:  # the leader has given up telling it
        await eventually(lambda: not leader.raft.extras)
    term = leader.status().term
    back = await cluster.restart(name)
    await eventually(lambda: back.removed)
    assert not back.status().ready
    assert leader.status().term == term


async def test_a_peer_that_had_its_removal_but_not_its_commit_learns_it(cluster: RealCluster) -> None:
    """The others tell it nothing more, and its own log alone does not say that the removal is valid."""
    await cluster.grow("a", "b", "c", "d")
    leader = await cluster.leader()
    name = cluster.followers()[0]
    await cluster.stop(name)
    await leader.remove_member(name, timeout=5)
    await eventually(lambda: not leader.raft.extras)  # the leader has given up telling it
    machine = cluster.machines[name] = Machine()
    back = cluster.replicas[name] = Replica.open(cluster.config(name), machine, rng=random.Random(name))
    raft, removal = back.raft, leader.raft.configuration_index
    assert raft.log.last_index == removal - 1
    entry = leader.raft.log[removal - leader.raft.log.first_index]
    raft.log.add(*entry)
    raft.entry_added(entry)
    changes: list[bool] = []
    back.on_change(lambda: changes.append(back.removed))
    await back.start()
    await eventually(lambda: bool(changes) and changes[-1])
    assert raft.commit_index < removal


async def test_a_leader_that_leaves_hands_over_first(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    leader = await cluster.leader()
    follower = cluster.replicas[cluster.followers()[0]]
    going = asyncio.ensure_future(leader.remove_member(leader.name, timeout=5))
    assert (await follower.propose("meanwhile", b"x", timeout=5)).result == {"position": 1}
    await going
    await eventually(lambda: leader.removed)
    assert follower.status().quorum.voters == tuple(sorted({"a", "b", "c"} - {leader.name}))


async def test_two_changes_at_once_become_one_after_the_other(cluster: RealCluster) -> None:
    await cluster.grow("a")
    leader = await cluster.leader()
    for name in ("b", "c"):
        await cluster.expect(name, leader.members)
    adding = [leader.add_voter(name, cluster.addresses[name], timeout=5) for name in ("b", "c")]
    results = await asyncio.gather(*adding, return_exceptions=True)
    assert sorted(type(result) for result in results if result is not None) == [Refused]
    await leader.add_voter("c", cluster.addresses["c"], timeout=5)
    await cluster.settled()


async def test_the_bind_address_may_differ_from_the_advertised_one(cluster: RealCluster) -> None:
    port = free_port()
    cluster.addresses["a"] = f"localhost:{port}"
    config = dataclasses.replace(cluster.config("a"), listen=f"0.0.0.0:{port}")
    machine = cluster.machines["a"] = Machine()
    cluster.replicas["a"] = replica = Replica.create(config, machine, rng=random.Random(1))
    await replica.start()
    await cluster.add("b")
    leader = await cluster.settled()
    assert leader.members["a"] == f"localhost:{port}"


@pytest.mark.parametrize("name", ["a", "c"])
async def test_a_peer_may_come_back_at_another_address(cluster: RealCluster, name: str) -> None:
    await cluster.grow("a", "b", "c")
    await cluster.stop(name)
    cluster.addresses[name] = f"127.0.0.1:{free_port()}"
    back = await cluster.restart(name)
    await eventually(lambda: len(back.status().quorum.reachable) == 3)
    other = cluster.replicas["b"]
    await eventually(lambda: other.raft._nodes[name].address == cluster.addresses[name])
    await cluster.settled()


async def test_an_address_can_be_set_by_hand(cluster: RealCluster) -> None:
    await cluster.grow("a", "b")
    leader = await cluster.leader()
    leader.set_address("b", "127.0.0.1:1")
    assert leader.raft.transport._nodes["b"].address == "127.0.0.1:1"  # type: ignore[attr-defined]
    leader.set_address("nobody", "127.0.0.1:1")


async def test_the_removed_one_of_two_learns_it(cluster: RealCluster) -> None:
    await cluster.grow("a", "b")
    leader = await cluster.leader()
    (name,) = cluster.followers()
    leaving = cluster.replicas[name]
    await leader.remove_member(name, timeout=5)
    await eventually(lambda: leaving.removed)
    assert leader.status().quorum.voters == (leader.name,)
    await leader.propose("w:1", b"alone")

"""Members without a vote: what is written of them, what they are sent, and what they never do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from consensus_by_hand import A, agreed, leading, only, vote
from consensus_support import RealCluster, TwinCluster, eventually, write
from consensus_virtual import VirtualClock, append, command, founded, one_raft, tell

from raftchaos import limits
from raftchaos.consensus import codec, survivor
from raftchaos.consensus.entries import (
    MEMBERSHIP,
    Configuration,
    decode_configuration,
    encode_configuration,
)
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.raft import Raft
from raftchaos.consensus.seams import FOLLOWER
from raftchaos.consensus.snapshot import Key, Snapshot
from raftchaos.errors import Conflict, MachineUnusable, NoQuorum, NotFound, Refused

Cluster = RealCluster | TwinCluster
OBSERVED = Configuration({"a": "a:1", "b": "b:1", "c": "c:1"}, {"d": "d:1", "e": "e:1"})
D, E = PeerNode("d", "d:1"), PeerNode("e", "e:1")


# ---- what is written


def test_without_observers_it_is_what_the_first_release_wrote() -> None:
    content = encode_configuration(Configuration({"b": "b:1", "a": "a:1"}))
    assert content == MEMBERSHIP + codec.dumps({"a": "a:1", "b": "b:1"})
    assert decode_configuration(content) == Configuration({"a": "a:1", "b": "b:1"})


def test_a_configuration_with_observers_is_read_as_written() -> None:
    assert decode_configuration(encode_configuration(OBSERVED)) == OBSERVED
    data = Snapshot(Key(9, 1), OBSERVED, 4, b"state").encode()
    assert Snapshot.decode(data).configuration == OBSERVED


@pytest.mark.parametrize(
    "value",
    [{}, (), (2, {"a": "a:1"}), (2, {}, {"b": "b:1"}), (2, {"a": "a:1"}, {"a": "a:1"}), (1, {"a": "a:1"}, {}), "a"],
)
def test_what_is_none_is_not_taken_for_one(value: Any) -> None:
    with pytest.raises(ValueError, match=r"configuration|member"):
        decode_configuration(MEMBERSHIP + codec.dumps(value))


def test_one_of_a_later_release_ends_the_peer(clock: VirtualClock) -> None:
    """It would otherwise count other votes than its leader."""
    raft, _, _ = one_raft()
    later = MEMBERSHIP + codec.dumps((3, {"a": "a:1"}, {}, {"z": "z:1"}))
    with pytest.raises(MachineUnusable, match="version 3"):
        tell(raft, "a", append(1, 2, 0, [(later, 3, 1)]))


# ---- by hand: `b` leads a, c, and the observers d and e


def observed(clock: VirtualClock) -> tuple[Raft, Any]:
    """The configuration with the observers is committed, and they are connected and level."""
    raft, transport, _ = leading(clock)
    for name in ("d", "e"):
        index = raft.change_configuration(raft.configuration.with_observer(name, f"{name}:1"))
        raft.doTick(0)
        tell(raft, "a", agreed(raft, index, prev=3))
    for node in (D, E):
        transport._onNodeConnected(node)
        tell(raft, node.name, agreed(raft, raft.commit_index, prev=raft.commit_index))
    pass_time(raft, clock)
    transport.take()
    return raft, transport


def pass_time(raft: Raft, clock: VirtualClock) -> None:
    """Until everything that is due has been sent; the voters answer meanwhile."""
    for _ in range(8):
        clock.now += raft.timings.append_period
        for name in ("a", "c"):
            tell(raft, name, agreed(raft, raft.log.last_index, prev=raft.log.last_index))


def appends(sent: list[tuple[str, dict[str, Any]]], to: str) -> list[dict[str, Any]]:
    return [message for name, message in sent if name == to and message["type"] == "append"]


def test_an_observer_is_sent_only_what_is_committed(clock: VirtualClock) -> None:
    raft, transport = observed(clock)
    index = raft.append(command("b:1"))
    raft.doTick(0)
    sent = transport.take()
    assert {name for name, _ in sent} == {"a", "c"}
    clock.now += 0.01
    sent = tell(raft, "a", agreed(raft, index, prev=index - 1))
    for name in ("d", "e"):
        (message,) = appends(sent, name)
        assert (message["entries"][0][1], message["commit"]) == (index, index)
    assert appends(sent, "d")[0] is appends(sent, "e")[0], "it is encoded once"


def test_the_messages_to_all_observers_are_bounded(clock: VirtualClock) -> None:
    raft, transport = observed(clock)
    rounds = 200
    began, count = clock.now, 0
    for number in range(rounds):
        index = raft.append(command(f"b:{number}"))
        raft.doTick(0)
        sent = tell(raft, "a", agreed(raft, index, prev=index - 1))
        count += len(appends(sent, "d")) + len(appends(sent, "e"))
        clock.now += 0.0001
    assert 0 < count <= (clock.now - began) * limits.OBSERVER_MESSAGES + 2
    clock.now += 0.01
    raft.doTick(0)
    assert appends(transport.take(), "d")[-1]["commit"] == raft.commit_index, "the last one follows by itself"


def test_what_is_committed_is_due_at_observers_soon(clock: VirtualClock) -> None:
    raft, transport = observed(clock)
    raft.append(command("b:1"))
    raft.doTick(0)
    tell(raft, "a", agreed(raft, raft.log.last_index, prev=3))
    raft.append(command("b:2"))
    raft.doTick(0)
    tell(raft, "a", agreed(raft, raft.log.last_index, prev=3))
    assert raft.next_tick_at() <= clock.now + 2 / limits.OBSERVER_MESSAGES
    transport.take()


def test_observers_have_no_part_in_rounds(clock: VirtualClock) -> None:
    raft, transport = observed(clock)
    answers: list[int | None] = []
    raft.confirm(answers.append)
    raft.doTick(0)
    assert {name for name, _ in transport.take()} == {"a", "c"}
    for name in ("d", "e"):
        tell(raft, name, {"type": "heartbeat_reply", "term": raft.term, "round": raft.round})
    assert answers == []
    tell(raft, "c", {"type": "heartbeat_reply", "term": raft.term, "round": raft.round})
    assert answers == [raft.commit_index]


def test_observers_make_no_majority(clock: VirtualClock) -> None:
    raft, _ = observed(clock)
    before, index = raft.commit_index, raft.append(command("b:1"))
    raft.doTick(0)
    for name in ("d", "e"):
        tell(raft, name, agreed(raft, index, prev=index - 1))
    assert raft.commit_index == before
    clock.now += raft.timings.fallback + 0.001
    for name in ("d", "e"):
        tell(raft, name, {"type": "heartbeat_reply", "term": raft.term, "round": raft.round})
    assert raft.role == FOLLOWER, "it leads without a majority of the voters"


def test_an_observer_keeps_to_the_voters_and_never_stands(clock: VirtualClock) -> None:
    log = founded("a", "b", "c")
    log.add(encode_configuration(OBSERVED), 3, 0)
    log.flush()
    raft, transport, _ = one_raft("d", log=log)
    assert set(transport.nodes) == {"a", "b", "c"}
    transport._onNodeConnected(A)
    transport._onNodeDisconnected(A)
    for _ in range(20):
        clock.now = raft.election_at + 0.001
        raft.doTick(0)
    assert (raft.role, raft.term, transport.take()) == (FOLLOWER, 0, [])
    assert raft.is_member
    assert not raft.is_voter


def test_who_is_asked_for_a_vote_gives_it_whether_it_knows_of_it_or_not(clock: VirtualClock) -> None:
    """`d` is promoted, and only the candidate has the entry that says so; without the vote of `d` nobody ever leads."""
    log = founded("a", "b", "c")
    log.add(encode_configuration(OBSERVED), 3, 0)
    log.flush()
    raft, _, _ = one_raft("d", log=log)
    assert only(tell(raft, "a", vote(5, raft)), "vote_reply")["granted"]


def test_a_new_leader_reaches_the_observers_at_once(clock: VirtualClock) -> None:
    log = founded("a", "b", "c")
    log.add(encode_configuration(OBSERVED), 3, 0)
    log.flush()
    raft, transport, _ = one_raft(log=log)
    for node in (D, E):
        transport._onNodeConnected(node)
    transport.take()
    clock.now = raft.election_at + 0.001
    raft.doTick(0)
    (_, question) = transport.take()[0]
    tell(raft, "a", {"type": "pre_vote_reply", "term": raft.term, "round": question["round"], "granted": True})
    sent = tell(raft, "a", {"type": "vote_reply", "term": raft.term, "granted": True})
    assert {name for name, message in sent if message["type"] == "append"} >= {"d", "e"}


# ---- real replicas, and the twin


async def add_observer(cluster: Cluster, name: str) -> Any:
    leader: Any = await cluster.leader()
    if isinstance(cluster, TwinCluster):
        await cluster.grow_without_vote(name)
    else:
        await cluster.expect(name, leader.members)
    await leader.add_observer(name, cluster.address(name), timeout=5)
    return cluster.replicas[name]


async def test_an_observer_applies_writes_and_reads(either: Cluster) -> None:
    await either.grow("a", "b", "c")
    observer = await add_observer(either, "d")
    await eventually(lambda: observer.status().ready and observer.status().role == "observer")
    status = observer.status()
    assert (status.role, status.observers, status.quorum.voters) == ("observer", ("d",), ("a", "b", "c"))
    await eventually(lambda: observer.status().quorum.reachable == ("a", "b", "c"))
    outcome = await observer.propose("d:1", b"from an observer", timeout=5)
    assert either.machines["d"].commands == ["from an observer"]
    leader = await either.leader()
    await leader.propose("l:1", b"from the leader")
    assert await observer.read_barrier(timeout=5) > outcome.index
    assert either.machines["d"].commands[-1] == "from the leader"
    await eventually(lambda: leader.behind()["d"] == 0)
    assert observer.behind() == {}


async def test_an_observer_hears_the_leader_s_messages_and_is_heard(either: Cluster) -> None:
    await either.grow("a", "b")
    observer = await add_observer(either, "d")
    leader: Any = await either.leader()
    heard: list[tuple[str, Any]] = []
    for replica in (observer, leader):
        replica.on_message(lambda sender, message: heard.append((sender, message)))
    await eventually(lambda: observer.send(leader.name, {"type": "ping"}) and leader.send("d", {"type": "pong"}))
    await eventually(lambda: ("d", {"type": "ping"}) in heard and (leader.name, {"type": "pong"}) in heard)


async def test_without_a_majority_of_the_voters_observers_do_not_help(either: Cluster) -> None:
    await either.grow("a", "b")
    for name in ("d", "e"):
        await add_observer(either, name)
    await either.stop("b")
    for name in ("a", "d"):
        await eventually(lambda name=name: either.replicas[name].status().leader is None)  # type: ignore[misc]
        with pytest.raises(NoQuorum) as caught:
            await either.replicas[name].propose(f"{name}:1", b"x", timeout=0.3)
        assert caught.value.details["missing"] == 1
        assert caught.value.details["voters"] == ["a", "b"]


async def test_an_observer_is_promoted_and_votes(either: Cluster) -> None:
    await either.grow("a", "b")
    observer = await add_observer(either, "d")
    leader = await either.leader()
    await leader.add_voter("d", either.address("d"), timeout=5)
    assert leader.status().quorum.voters == ("a", "b", "d")
    assert leader.status().observers == ()
    await eventually(lambda: observer.status().role == "follower")
    await leader.add_observer("d", either.address("d"), timeout=5)  # nobody loses a vote by this
    assert leader.status().quorum.voters == ("a", "b", "d")
    await either.stop(leader.status().name)
    await either.leader()
    await observer.propose("d:1", b"with its vote", timeout=5)


async def test_an_observer_is_removed(either: Cluster) -> None:
    await either.grow("a", "b")
    await add_observer(either, "d")
    leader = await either.leader()
    await leader.remove_member("d", timeout=5)
    assert leader.status().observers == ()
    with pytest.raises(NotFound, match="a, b"):
        await leader.remove_member("d", timeout=5)


async def test_no_eighth_voter(either: Cluster) -> None:
    await either.grow(*"abcdefg")
    await add_observer(either, "h")
    leader = await either.leader()
    with pytest.raises(Refused, match="7 voters, at most 7"):
        await leader.add_voter("h", either.address("h"), timeout=5)
    assert leader.status().observers == ("h",)


async def test_observers_follow_the_next_leader_at_once(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    observers = [await add_observer(cluster, name) for name in ("d", "e")]
    await write(cluster, 50)
    leader = await cluster.settled()
    await cluster.stop(leader.name)
    new = await cluster.leader()
    async with asyncio.timeout(5):
        await asyncio.gather(*(each.propose(f"{each.name}:1", b"on") for each in observers))
    assert all(each.status().leader == new.name for each in observers)
    await cluster.settled()
    assert len(cluster.machines["e"].commands) == 52


async def test_observers_keep_no_connection_to_each_other(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    for name in ("d", "e"):
        await add_observer(cluster, name)
    await cluster.settled()
    await eventually(lambda: set(cluster.replicas["d"].raft.transport._connections) == {"a", "b", "c"})  # type: ignore[attr-defined]
    await eventually(lambda: set(cluster.replicas["a"].raft.transport._connections) == {"b", "c", "d", "e"})  # type: ignore[attr-defined]


async def test_a_restarted_observer_finds_its_role_in_its_data(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path, entries_before_snapshot=30)
    try:
        await cluster.grow("a", "b")
        observer = await add_observer(cluster, "d")
        await eventually(lambda: observer.status().role == "observer")
        await cluster.stop("d")
        await write(cluster, 300)  # the log that it lacks is in a snapshot by now
        observer = await cluster.restart("d")
        assert observer.status().role == "observer"
        await eventually(lambda: observer.status().ready and len(cluster.machines["d"].commands) == 300)
        assert observer.status().role == "observer"
    finally:
        await cluster.close()


async def test_a_removed_observer_knows_it_also_if_it_was_away(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    here, away = [await add_observer(cluster, name) for name in ("d", "e")]
    leader = await cluster.settled()
    await cluster.stop("e")
    for name in ("d", "e"):
        await leader.remove_member(name, timeout=5)
    await eventually(lambda: here.removed)
    await eventually(lambda: not leader.raft.extras)
    back = await cluster.restart("e")
    await eventually(lambda: back.removed)
    assert not away.removed


async def test_an_observer_may_be_the_survivor(cluster: RealCluster) -> None:
    await cluster.grow("a", "b")
    await add_observer(cluster, "d")
    await write(cluster, 10)
    await cluster.settled()
    for name in ("a", "b", "d"):
        await cluster.stop(name)
    seen = survivor.go_on_alone(cluster.root / "d", name="d", cluster_id="test-cluster")
    assert sorted(seen.members) == ["a", "b", "d"]
    alone = await cluster.restart("d")
    await eventually(lambda: alone.status().leader_ready)
    assert alone.status().quorum.voters == ("d",)
    assert len(cluster.machines["d"].commands) == 10


async def test_a_member_at_another_address_is_another_one(cluster: RealCluster) -> None:
    await cluster.grow("a")
    await add_observer(cluster, "d")
    leader = await cluster.leader()
    with pytest.raises(Conflict):
        await leader.add_observer("d", "127.0.0.1:1", timeout=5)

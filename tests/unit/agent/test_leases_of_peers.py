"""Leases between running peers: pings, rounds, pongs, failover, and what a peer does when they stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from raftchaos import limits
from raftchaos.core.commands import LeaderStarted, NodeActive, NodeDegraded, NodeFailed
from raftchaos.model.nodes import NodeStatus
from tests.unit.agent.lease_cluster import Cluster, Peer
from tests.unit.agent.virtual_time import run_virtually, until

Scenario = Callable[[Cluster, dict[str, Peer]], Awaitable[None]]


@asynccontextmanager
async def running(*names: str) -> AsyncIterator[tuple[Cluster, dict[str, Peer]]]:
    cluster = Cluster(*names)
    peers = {name: Peer(cluster, name) for name in names}
    async with asyncio.TaskGroup() as group:
        tasks = [task for peer in peers.values() for task in peer.start(group)]
        yield cluster, peers
        for task in tasks:
            task.cancel()


def play(scenario: Scenario) -> None:
    """Runs a scenario in a cluster of three whose first peer leads and whose peers all hold a lease."""

    async def main() -> None:
        async with running("a", "b", "c") as (cluster, peers):
            cluster.elect("a")
            await until(lambda: all(peer.keeper.running() for peer in peers.values()), 1.0)
            await scenario(cluster, peers)

    run_virtually(main)


def test_every_peer_holds_a_lease_the_leader_too_as_long_as_there_is_a_leader() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer]) -> None:
        for _ in range(60):
            await asyncio.sleep(0.5)
            assert all(peer.keeper.running() for peer in peers.values())
        assert all(peer.told == [("renewed", 1)] for peer in peers.values())
        assert not cluster.commands(NodeFailed)
        assert set(peers["a"].leader.silences()) == {"a", "b", "c"}
        assert not peers["b"].leader.silences()

    play(scenario)


def test_a_failover_alone_ends_no_lease() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer]) -> None:
        for leader in ("b", "c", "a"):
            cluster.separate()
            await asyncio.sleep(1.0)
            cluster.elect(leader)
            await until(lambda leader=leader: peers[leader].leader.acting)
            await asyncio.sleep(2.0)
        assert all(peer.told == [("renewed", 1)] for peer in peers.values())
        assert not cluster.commands(NodeFailed)

    play(scenario)


def test_a_peer_that_is_cut_off_loses_its_lease_then_counts_as_failed_and_comes_back() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer]) -> None:
        lone = peers["c"]
        cluster.isolate("c")
        cut_at = lone.clock.boot()
        await until(lambda: lone.told == [("renewed", 1), ("lapsed", 1)])
        assert lone.clock.boot() - cut_at <= limits.LEASE + 0.1
        assert not cluster.commands(NodeFailed)
        await until(lambda: cluster.commands(NodeFailed))
        assert lone.clock.boot() >= lone.keeper.lease.end + limits.REVERT
        assert cluster.commands(NodeFailed) == [NodeFailed(cluster.term, "c", 1)]
        lone.log.stop_applying()
        cluster.heal()
        await asyncio.sleep(3.0)
        assert not lone.keeper.running()  # it has not applied its own failure
        assert not cluster.commands(NodeActive)
        lone.log.go_on_applying()
        await until(lone.keeper.running)
        assert lone.told[-1] == ("renewed", 2)
        assert peers["a"].state().nodes["c"].status is NodeStatus.ACTIVE
        assert len(cluster.commands(NodeFailed)) == len(cluster.commands(NodeActive)) == 1

    play(scenario)


def test_without_a_majority_every_lease_ends_and_nothing_is_said_to_have_failed() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer]) -> None:
        for peer in peers.values():
            peer.log.rounds = False
        await until(lambda: all(peer.told[-1] == ("lapsed", 1) for peer in peers.values()), limits.LEASE + 0.6)
        assert not cluster.commands(NodeFailed)
        for peer in peers.values():
            peer.log.rounds = True
        await until(lambda: all(peer.told[-1] == ("renewed", 2) for peer in peers.values()), 1.0)

    play(scenario)


def test_a_peer_that_stopped_applying_loses_its_lease() -> None:
    """Schedule lease_apply: it sees the leader and gets its pongs, but would not see a halt."""

    async def scenario(cluster: Cluster, peers: dict[str, Peer]) -> None:
        peers["c"].log.stop_applying()
        peers["b"].unwell = ["disk nearly full"]  # something that is committed
        await until(lambda: cluster.commands(NodeDegraded))
        await until(lambda: peers["c"].told[-1] == ("lapsed", 1), limits.LEASE + 0.6)
        peers["c"].log.go_on_applying()
        assert peers["c"].told[-1] == ("renewed", 2)

    play(scenario)


def test_a_suspended_machine_knows_at_once_that_its_lease_is_over() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer]) -> None:
        peers["c"].clock.suspend(limits.LEASE)
        assert not peers["c"].keeper.running()
        await until(lambda: ("renewed", 2) in peers["c"].told, 1.0)
        assert peers["c"].told == [("renewed", 1), ("lapsed", 1), ("renewed", 2)]

    play(scenario)


def test_a_new_leader_answers_nobody_before_its_own_first_command_is_applied() -> None:
    """Schedule own_entry: it may have its votes and its rounds before it knows what was committed."""

    async def scenario(cluster: Cluster, peers: dict[str, Peer]) -> None:
        peers["b"].log.stop_applying()
        cluster.elect("b")
        await until(lambda: cluster.commands(LeaderStarted)[-1] == LeaderStarted(2, "b"))
        await until(lambda: all(peer.told[-1][0] == "lapsed" for peer in peers.values()), limits.LEASE + 0.6)
        assert not peers["b"].leader.acting
        assert all(message["type"] == "ping" for _, message in peers["b"].log.sent)
        peers["b"].log.go_on_applying()
        await until(lambda: all(peer.keeper.running() for peer in peers.values()), 1.0)

    play(scenario)


def test_a_deposed_leader_says_nothing_more_in_its_term() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer]) -> None:
        cluster.isolate("c")
        await asyncio.sleep(5.0)
        cluster.elect("b")
        await until(lambda: cluster.commands(NodeFailed))
        assert cluster.commands(NodeFailed) == [NodeFailed(2, "c", 1)]  # and not before the new leader had waited
        assert not peers["a"].leader.acting

    play(scenario)


def test_a_peer_that_is_not_well_counts_as_degraded_and_keeps_its_lease() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer]) -> None:
        peers["c"].unwell = ["the proxy restarts"]
        await until(lambda: peers["a"].state().nodes["c"].status is NodeStatus.DEGRADED)
        assert peers["a"].state().nodes["c"].reasons == ("the proxy restarts",)
        peers["c"].unwell = []
        await until(lambda: peers["a"].state().nodes["c"].status is NodeStatus.ACTIVE)
        assert peers["c"].told == [("renewed", 1)]
        assert len(cluster.commands(NodeDegraded)) == 2

    play(scenario)


def test_the_first_ping_follows_the_registration_and_a_change_of_the_leader_at_once() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer]) -> None:
        cluster.elect("b")
        elected_at = peers["c"].clock.boot()
        await until(lambda: peers["c"].log.sent[-1][0] == "b")
        assert peers["c"].clock.boot() - elected_at < 0.05

    play(scenario)


def test_an_unregistered_peer_does_not_ping() -> None:
    async def main() -> None:
        async with running("a", "b") as (cluster, peers):
            peers["b"].clean = False
            cluster.elect("a")
            await until(peers["a"].keeper.running)
            await asyncio.sleep(2.0)
            assert not peers["b"].log.sent
            peers["b"].clean = True
            await until(peers["b"].keeper.running, 1.0)

    run_virtually(main)


def test_an_answer_to_an_earlier_start_renews_nothing() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer]) -> None:
        keeper = peers["c"].keeper
        end, seq = keeper.lease.end, keeper.lease.ping(peers["c"].clock.boot() + 5)
        pong = {"type": "pong", "seq": seq, "term": 1, "commit": 0, "incarnation": 2}
        peers["c"].log._deliver("a", pong)
        assert keeper.lease.end == end
        peers["c"].log._deliver("a", pong | {"incarnation": 1})
        assert keeper.lease.end > end

    play(scenario)


def test_a_listener_that_fails_ends_the_peer() -> None:
    class Failing:
        def on_renewed(self, end: float, epoch: int) -> None: ...

        def on_lapsed(self, epoch: int) -> None:
            raise RuntimeError("cannot revert")

    async def main() -> None:
        async with running("a") as (cluster, peers):
            peers["a"].keeper.add_listener(Failing())
            cluster.elect("a")
            await until(peers["a"].keeper.running)
            peers["a"].log.rounds = False
            await asyncio.sleep(10.0)

    with pytest.raises(ExceptionGroup) as raised:
        run_virtually(main)
    assert raised.group_contains(RuntimeError, match="cannot revert")

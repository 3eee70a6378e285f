"""How a leader plans: only in its own term, one batch at a time, and not again what was just refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from raftchaos import limits
from raftchaos.core.commands import Command, LeaderStarted, NodeDegraded, WindDownTask
from raftchaos.core.state import ClusterState
from tests.unit.agent.lease_cluster import Cluster, Peer
from tests.unit.agent.virtual_time import run_virtually, until


class Plan:
    """A planner that wants node `a` degraded for `wanted` reasons in turn, and remembers when it was asked."""

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self.refused = False
        self.asked: list[tuple[int, int]] = []

    def __call__(self, state: ClusterState, now_ms: int) -> list[Command]:
        self.asked.append((state.term, now_ms))
        if self.refused:
            return [WindDownTask(state.term, "nobodys", "failed")]
        known = list(state.nodes["a"].reasons) if "a" in state.nodes else []
        missing = [reason for reason in self.wanted if reason not in known][:1]
        return [NodeDegraded(state.term, "a", 1, known + missing)] if missing else []


def play(scenario: Callable[[Cluster, dict[str, Peer], dict[str, Plan]], Awaitable[None]]) -> None:
    """Runs a scenario in which `a` leads. Peers do not ping (they are not clean), so that only plans are proposed."""

    async def main() -> None:
        cluster = Cluster("a", "b")
        plans = {name: Plan() for name in cluster.names}
        peers = {name: Peer(cluster, name, plans[name]) for name in cluster.names}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(peers["a"].registration.run())]
            tasks += [group.create_task(peer.leader.run()) for peer in peers.values()]
            cluster.elect("a")
            await until(lambda: peers["a"].leader.acting and peers["a"].registration.registered)
            await scenario(cluster, peers, plans)
            for task in tasks:
                task.cancel()

    run_virtually(main)


def proposals(cluster: Cluster, kind: type[Command]) -> int:
    return len(cluster.commands(kind))


def test_only_the_leader_plans_and_only_in_a_state_of_its_own_term() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer], plans: dict[str, Plan]) -> None:
        assert plans["a"].asked
        assert not plans["b"].asked
        cluster.elect("b")
        await until(lambda: plans["b"].asked)
        last = len(plans["a"].asked)
        await asyncio.sleep(1.0)
        assert len(plans["a"].asked) == last
        assert {term for term, _ in plans["a"].asked} == {1}
        assert {term for term, _ in plans["b"].asked} == {2}
        assert cluster.commands(LeaderStarted) == [LeaderStarted(1, "a"), LeaderStarted(2, "b")]

    play(scenario)


def test_it_plans_at_every_tick_with_the_wall_clock_in_milliseconds() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer], plans: dict[str, Plan]) -> None:
        await asyncio.sleep(2.0)
        times = [now_ms for _, now_ms in plans["a"].asked]
        assert times[-1] - times[-2] <= limits.LEADER_TICK * 1000 + 1
        assert abs(times[-1] / 1000 - peers["a"].clock.wall()) < 0.2

    play(scenario)


def test_what_is_applied_is_followed_at_once_by_the_next_step() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer], plans: dict[str, Plan]) -> None:
        plans["a"].wanted = [f"step {number}" for number in range(8)]
        before = asyncio.get_running_loop().time()
        await until(lambda: len(peers["a"].state().nodes["a"].reasons) == 8)
        assert asyncio.get_running_loop().time() - before < 3 * limits.LEADER_TICK
        assert proposals(cluster, NodeDegraded) == 8  # each once: it never planned past a batch under way

    play(scenario)


def test_what_is_refused_is_not_asked_for_again_at_once() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer], plans: dict[str, Plan]) -> None:
        plans["a"].refused = True
        await asyncio.sleep(5.0)
        assert 4 <= proposals(cluster, WindDownTask) <= 6

    play(scenario)


def test_a_deposed_leader_proposes_nothing_more() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer], plans: dict[str, Plan]) -> None:
        plans["a"].refused = True
        await until(lambda: proposals(cluster, WindDownTask))
        cluster.elect("b")
        said = len(peers["a"].log.proposals)
        await until(lambda: peers["b"].leader.acting)
        await asyncio.sleep(3.0)
        assert len(peers["a"].log.proposals) == said

    play(scenario)


def test_the_same_peer_leading_again_starts_anew() -> None:
    async def scenario(cluster: Cluster, peers: dict[str, Peer], plans: dict[str, Plan]) -> None:
        cluster.elect("a")
        assert not peers["a"].leader.acting
        await until(lambda: peers["a"].leader.acting)
        assert cluster.commands(LeaderStarted)[-1] == LeaderStarted(2, "a")
        assert len(set(peers["a"].log.proposals)) == len(peers["a"].log.proposals)

    play(scenario)

"""Peers of two releases in one cluster: what the older one does not know waits until it runs the later one too."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Any

import pytest

from raftchaos.core import commands as c
from raftchaos.core.history import load
from raftchaos.errors import RaftchaosError, Refused
from tests.simulation.cluster import Cluster
from tests.simulation.peer import PeerProcess
from tests.simulation.script_actions import Actions, parse
from tests.simulation.world import World

OLD, NEW = "0.9.9", "0.10.0"
LEADER, OLDER = "n1", "n3"


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Led by n1; n3 runs the older release."""
    cluster = Cluster(World(request.node.name), 3)
    cluster.restart_after = (0.2, 0.5)
    for name, machine in cluster.machines.items():
        machine.version = OLD if name == OLDER else NEW
    with cluster:
        actions = Actions(cluster)
        until(cluster, actions.ready)
        actions.hand_over(LEADER)
        until(cluster, lambda: actions.leads(LEADER))
        yield cluster


def until(cluster: Cluster, condition: Any) -> None:
    """Let time pass; a minute at most, and nothing may be violated."""
    assert cluster.world.run(cluster.world.now + 60, lambda: bool(condition())), cluster.world.trace[-30:]


def main(cluster: Cluster, name: str = LEADER) -> PeerProcess:
    """The peer on this machine."""
    found = cluster.machines[name].main
    assert found is not None
    return found


def ask(cluster: Cluster, work: Awaitable[Any]) -> Any:
    """What n1 answers, or the error that it raises."""

    async def call() -> Any:
        try:
            return await work
        except RaftchaosError as error:
            return error

    task = main(cluster).run(call())
    until(cluster, task.done)
    return task.result()


def start_as(cluster: Cluster, release: str) -> None:
    """The older peer is started again with this release."""
    machine = cluster.machines[OLDER]
    machine.version = release
    machine.kill_main()


def upgrade(cluster: Cluster) -> None:
    """Until the registry says that all run the later release."""
    start_as(cluster, NEW)
    until(cluster, lambda: main(cluster).state.state.nodes[OLDER].version == NEW)


def drain(cluster: Cluster) -> Any:
    """Ask for it."""
    return ask(cluster, main(cluster).services.drain_node("n2", True))


def test_what_a_user_asks_for_is_refused_until_all_know_it(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c.DrainNode, "since", NEW)
    refused = drain(cluster)
    assert isinstance(refused, Refused)
    assert f"drainNode came with release {NEW}" in refused.message
    assert refused.message.endswith(f": {OLDER}")
    upgrade(cluster)
    assert drain(cluster).result["ok"]
    until(cluster, lambda: all(peer.state.state.nodes["n2"].drained for peer in cluster.peers()))


def test_what_the_leader_decides_waits_until_all_know_it(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c.PlanRuns, "since", NEW)
    orchestration = parse("t1", ["parallel", "burn:0.5"]).to_dict()
    assert ask(cluster, main(cluster).services.submit("t1", orchestration)).result["ok"]
    cluster.world.run(cluster.world.now + 3)
    assert not main(cluster).state.state.runs_of("t1")
    upgrade(cluster)
    until(cluster, lambda: all("t1" in peer.state.state.finished for peer in cluster.peers()))
    assert load(main(cluster).state.state.finished["t1"])["verdict"] == "passed"
    assert not cluster.world.violations


def test_a_peer_that_comes_back_older_stops_before_it_differs(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c.DrainNode, "since", NEW)
    upgrade(cluster)
    drain(cluster)
    until(cluster, lambda: all(peer.state.state.nodes["n2"].drained for peer in cluster.peers()))
    start_as(cluster, OLD)
    assert not cluster.world.run(cluster.world.now + 60)
    (violation,) = cluster.world.violations
    assert f"{OLDER}: AssertionError: it ends without a reason" in violation
    assert "what this release does not know: drainNode" in violation

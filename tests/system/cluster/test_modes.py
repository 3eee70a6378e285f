"""The four modes do what they say, as the upstream saw it, and each survives the death of the leader."""

from __future__ import annotations

import itertools
import os

import pytest

from tests.system.harness import Cluster, Shop, injections, orchestration, outage, wait_until

MODES = ["parallel", "sequential", "leaderAssigned", "peerToPeer"]
REPEAT = 20 if os.environ.get("RAFTCHAOS_SOAK") else 1


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Seconds that two gaps have in common."""
    return min(a[1], b[1]) - max(a[0], b[0])


def all_gaps(shop: Shop) -> list[tuple[str, tuple[float, float]]]:
    """Every gap of every node, in the order of their beginnings."""
    found = [(name, gap) for name in shop.ports for gap in shop.gaps(name)]
    return sorted(found, key=lambda item: item[1][0])


def test_parallel_breaks_every_target_at_once_step_by_step(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    task = cluster.submit(orchestration("parallel", [outage("one", 2), outage("two", 2, delayBeforeSeconds=1)]))
    view = cluster.wait_task(task, 40)
    shop.wait_clean()
    assert (view["status"], view["verdict"]) == ("completed", "passed"), view
    assert all(len(shop.gaps(name)) == 2 for name in shop.ports), all_gaps(shop)
    for step in (0, 1):
        gaps = [shop.gaps(name)[step] for name in shop.ports]
        assert all(overlap(a, b) > 0.6 for a in gaps for b in gaps), gaps
    first_ends = max(shop.gaps(name)[0][1] for name in shop.ports)
    second_begins = min(shop.gaps(name)[1][0] for name in shop.ports)
    assert second_begins > first_ends, "the barrier between the steps"


def test_sequential_breaks_one_node_at_a_time_in_name_order(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    task = cluster.submit(orchestration("sequential", [outage("one", 1.5), outage("two", 1.5, delayBeforeSeconds=1)]))
    view = cluster.wait_task(task, 60)
    shop.wait_clean()
    assert (view["status"], view["verdict"]) == ("completed", "passed"), view
    order = [name for name, _ in all_gaps(shop)]
    assert order == ["node-1", "node-1", "node-2", "node-2", "node-3", "node-3"]
    gaps = all_gaps(shop)
    assert all(overlap(a[1], b[1]) <= 0.15 for a, b in itertools.pairwise(gaps) if a[0] != b[0]), gaps


def test_leader_assigned_gives_each_step_to_one_node(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    task = cluster.submit(
        orchestration("leaderAssigned", [outage("one", 1.5), outage("two", 1.5, delayBeforeSeconds=1)])
    )
    view = cluster.wait_task(task, 40)
    shop.wait_clean()
    assert (view["status"], view["verdict"]) == ("completed", "passed"), view
    gaps = all_gaps(shop)
    assert len(gaps) == 2, gaps
    assert overlap(gaps[0][1], gaps[1][1]) <= 0.15


def test_peer_to_peer_is_taken_by_as_many_as_asked_for(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    task = cluster.submit(orchestration("peerToPeer", [outage("one", 2)], {"count": 2}))
    view = cluster.wait_task(task, 40)
    shop.wait_clean()
    assert (view["status"], view["verdict"]) == ("completed", "passed"), view
    gaps = all_gaps(shop)
    assert len({name for name, _ in gaps}) == len(gaps) == 2, gaps


@pytest.mark.parametrize("attempt", range(REPEAT))
@pytest.mark.parametrize("mode", MODES)
def test_the_leader_dies_in_the_middle_of_a_step(cluster: Cluster, shop: Shop, mode: str, attempt: int) -> None:
    shop.start(3)
    leader = cluster.leader()
    others = [peer for peer in cluster.running() if peer is not leader]
    steps = [outage("one", 3, continueOnFailure=True), outage("two", 1.5, continueOnFailure=True)]
    task = cluster.submit(orchestration(mode, steps), others[0])
    wait_until(
        lambda: any(s.samples and s.samples[-1][2] == 503 for s in shop.samplers.values()),
        15,
        "a fault is on somewhere",
    )
    leader.kill()
    view = cluster.wait_task(task, 60, others[0])
    assert view["status"] in ("completed", "failed"), view
    shop.wait_clean()
    counts = injections(cluster)
    assert counts
    assert max(counts.values()) == 1, counts
    if mode == "sequential":
        gaps = [gap for gap in all_gaps(shop) if gap[0] != leader.name]
        assert all(overlap(a[1], b[1]) <= 0.15 for a, b in itertools.pairwise(gaps) if a[0] != b[0]), gaps
    # the killed peer comes back and takes part again
    leader.start()
    cluster.wait_ready(40)
    again = cluster.submit(orchestration("parallel", [outage("three", 1)]), leader)
    assert cluster.wait_task(again, 30, leader)["verdict"] == "passed"


def test_two_runs_submitted_at_once_to_different_peers(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    first = cluster.submit(orchestration("parallel", [outage("one", 1.5)]), cluster["node-1"])
    second = cluster.submit(orchestration("parallel", [outage("two", 1.5)]), cluster["node-2"])
    assert first != second
    views = [cluster.wait_task(task, 60) for task in (first, second)]
    shop.wait_clean()
    assert [view["verdict"] for view in views] == ["passed", "passed"], views
    for name in shop.ports:
        gaps = shop.gaps(name)
        # one proxy is never under two runs at once: they follow one another
        assert sum(end - begin for begin, end in gaps) > 2.4, gaps
    assert max(injections(cluster).values()) == 1

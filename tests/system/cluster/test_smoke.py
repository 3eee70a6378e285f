"""The whole thing, thin: three real peers, real traffic, a killed leader, everything put back."""

from __future__ import annotations

from tests.system.harness import Cluster, Shop, injections, orchestration, outage, wait_until


def test_an_experiment_survives_its_leader(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    leader = cluster.leader()
    others = [peer for peer in cluster.running() if peer is not leader]
    steps = [outage("first", 3, continueOnFailure=True), outage("second", 2, continueOnFailure=True)]
    task = cluster.submit(orchestration("parallel", steps), others[0])
    for name in shop.ports:
        wait_until(lambda name=name: shop.samplers[name].samples[-1][2] == 503, 15, f"the fault is on at {name}")

    leader.kill()

    view = cluster.wait_task(task, 40, others[1])
    assert view["status"] == "completed", view
    shop.wait_clean()
    for peer in others:
        gaps = shop.gaps(peer.name)
        assert len(gaps) == 2, (peer.name, gaps)
    counts = injections(cluster)
    assert counts
    assert max(counts.values()) == 1, counts
    assert others[0].status()["term"] > 1

"""What is frozen, cut off or killed reverts by itself: measured at the proxy, from outside."""

from __future__ import annotations

import signal
import time

from raftchaos import limits
from tests.system.harness import Cluster, PeerProcess, Shop, orchestration, outage, wait_until, words_of

BOUND = limits.LEASE + limits.REVERT
"""A fault is off by then (G1); a proxy fault ends with the lease itself."""


def fault_on(shop: Shop, name: str) -> bool:
    return bool(shop.samplers[name].samples) and shop.samplers[name].samples[-1][2] == 503


def frozen_peer_reverts(cluster: Cluster, shop: Shop, victim: PeerProcess) -> None:
    others = [peer for peer in cluster.running() if peer is not victim]
    task = cluster.submit(orchestration("parallel", [outage("one", 25, continueOnFailure=True)]), others[0])
    for name in shop.ports:
        wait_until(lambda name=name: fault_on(shop, name), 15, f"the fault is on at {name}")
    victim.signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        wait_until(lambda: not fault_on(shop, victim.name), BOUND * 3, "the frozen peer's fault is off")
        assert time.monotonic() - began < BOUND + 1
        assert all(fault_on(shop, peer.name) for peer in others), "the others go on"
        nodes = lambda: {n["name"]: n["status"] for n in others[0].get("/api/v1/nodes")["nodes"]}  # noqa: E731
        wait_until(lambda: nodes()[victim.name] == "failed", 20, "the frozen peer is failed")
    finally:
        victim.signal(signal.SIGCONT)
    # once it goes on, its run is over for good
    view = cluster.wait_task(task, 60, others[0])
    runs = {run["node"]: run["status"] for run in view["steps"][0]["runs"]}
    assert runs[victim.name] == "interrupted", view
    assert all(runs[peer.name] == "succeeded" for peer in others), view
    assert len(shop.gaps(victim.name)) == 1, "it was injected once"
    shop.wait_clean()


def test_a_frozen_leader_reverts_its_fault_and_is_replaced(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    frozen_peer_reverts(cluster, shop, cluster.leader())


def test_a_frozen_follower_reverts_its_fault(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    leader = cluster.leader()
    frozen_peer_reverts(cluster, shop, next(peer for peer in cluster.running() if peer is not leader))


def test_a_killed_main_is_cleaned_up_after(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    leader = cluster.leader()
    victim = next(peer for peer in cluster.running() if peer is not leader)
    cluster.submit(orchestration("parallel", [outage("one", 25, continueOnFailure=True)]), leader)
    wait_until(lambda: fault_on(shop, victim.name), 15, "the fault is on")
    victim.kill()
    wait_until(lambda: shop.clean(victim.name), BOUND * 3, "the dead peer's proxy relays again, without its fault")


def test_killing_every_process_of_a_peer_leaves_nothing_after_its_restart(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    leader = cluster.leader()
    victim = next(peer for peer in cluster.running() if peer is not leader)
    task = cluster.submit(orchestration("parallel", [outage("one", 12, continueOnFailure=True)]), leader)
    wait_until(lambda: fault_on(shop, victim.name), 15, "the fault is on")
    children = victim.children()
    assert children
    victim.kill()
    for child in children:
        child.kill()
    victim.start()
    cluster.wait_ready()
    assert shop.clean(victim.name)
    view = cluster.wait_task(task, 40, leader)
    runs = {run["node"]: run["status"] for run in view["steps"][0]["runs"]}
    assert runs[victim.name] == "interrupted", view
    assert len(shop.gaps(victim.name)) <= 2


def test_a_killed_proxy_process_keeps_its_port_and_its_fault(cluster: Cluster, shop: Shop) -> None:
    shop.start(1)
    task = cluster.submit(orchestration("parallel", [outage("one", 6)]))
    wait_until(lambda: fault_on(shop, "node-1"), 15, "the fault is on")
    proxy = next(child for child in cluster["node-1"].children() if "raftchaos.proxy" in " ".join(words_of(child)))
    proxy.kill()
    wait_until(lambda: fault_on(shop, "node-1"), 5, "a new proxy process serves the fault on the same port")
    view = cluster.wait_task(task, 30)
    assert view["verdict"] == "passed", view
    shop.wait_clean()


def test_a_killed_reaper_is_replaced(cluster: Cluster, shop: Shop) -> None:
    shop.start(1)
    peer = cluster["node-1"]
    reapers = lambda: [c for c in peer.children() if "raftchaos.faults.reaper" in words_of(c)]  # noqa: E731
    old = wait_until(reapers, 10, "a reaper runs")[0]
    old.kill()
    wait_until(lambda: [c for c in reapers() if c.pid != old.pid], 10, "another reaper runs")
    view = cluster.wait_task(cluster.submit(orchestration("parallel", [outage("one", 1)])), 30)
    assert view["verdict"] == "passed", view

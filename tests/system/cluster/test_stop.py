"""A peer that is told to end: its faults are off before it ends, the cluster knows, and no process is left."""

from __future__ import annotations

import signal
import time

import pytest

from tests.system.harness import Cluster, PeerProcess, Shop, orchestration, outage, wait_until


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_sigterm_in_the_middle_of_a_step(cluster: Cluster, shop: Shop, who: str) -> None:
    shop.start(3)
    leader = cluster.leader()
    victim = leader if who == "leader" else next(peer for peer in cluster.running() if peer is not leader)
    asked = next(peer for peer in cluster.running() if peer is not victim)
    task = cluster.submit(orchestration("parallel", [outage("one", 8, continueOnFailure=True)]), asked)
    wait_until(lambda: [s for s in shop.samplers[victim.name].samples if s[2] == 503], 15, "the fault is on")
    assert victim.stop() == 0, victim.output()
    victim.wait_childless()
    runs = {run["node"]: run for run in asked.get(f"/api/v1/tasks/{task}")["steps"][0]["runs"]}
    assert runs[victim.name]["status"] == "interrupted", "its last words were taken"
    assert runs[victim.name]["effects"][0]["touched"] > 0
    view = cluster.wait_task(task, 30, asked)
    assert {run["status"] for run in view["steps"][0]["runs"]} == {"interrupted", "succeeded"}, view
    victim.start()
    cluster.wait_ready()
    shop.wait_clean()


@pytest.mark.parametrize("seconds", [0.6, 0.8, 1.0])
def test_sigterm_while_it_starts_leaves_no_process(cluster: Cluster, seconds: float) -> None:
    peer = cluster.add("node-1")
    time.sleep(seconds)  # some moment of the start; each must do
    peer.signal(signal.SIGTERM)
    assert peer.wait_exit(15) in (0, -signal.SIGTERM), peer.output()
    assert "Traceback" not in peer.output()
    peer.wait_childless()


def test_sigterm_while_it_waits_to_be_let_in(cluster: Cluster) -> None:
    cluster.start(2)
    cluster.leader().kill()
    left: PeerProcess = cluster.running()[0]
    joiner = cluster.add("node-3", left)
    wait_until(joiner.data.exists, 15, "it has begun")
    wait_until((joiner.data / "identity.msgpack").exists, 15, "it asks")
    joiner.signal(signal.SIGTERM)
    assert joiner.wait_exit(5) == 0, joiner.output()
    joiner.wait_childless()

"""Forming, joining, restarting, leaving."""

from __future__ import annotations

import shutil

import pytest

from tests.system.harness import ApiError, Cluster, PeerProcess, Shop, orchestration, outage, wait_until


def names(peer: PeerProcess) -> dict[str, str]:
    return {node["name"]: node["status"] for node in peer.get("/api/v1/nodes")["nodes"]}


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_cluster_of_any_size_runs_an_experiment(cluster: Cluster, shop: Shop, count: int) -> None:
    shop.start(count)
    status = cluster.leader().status()
    assert len(status["quorum"]["voters"]) == count
    view = cluster.wait_task(cluster.submit(orchestration("parallel", [outage("one", 1)])), 30)
    assert view["verdict"] == "passed", view
    shop.wait_clean()


def test_joining_through_any_member(cluster: Cluster) -> None:
    cluster.start(2)
    follower = next(peer for peer in cluster.running() if peer is not cluster.leader())
    cluster.add("node-3", follower)
    cluster.wait_ready()
    cluster.add("node-4", cluster["node-3"])
    cluster.wait_ready()
    for peer in cluster.running():
        assert len(peer.status()["quorum"]["voters"]) == 4


def test_restart_of_each_peer(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)

    def incarnation(name: str) -> int:
        return next(n["incarnation"] for n in cluster[name].get("/api/v1/nodes")["nodes"] if n["name"] == name)

    for name in ("node-1", "node-2", "node-3"):
        peer = cluster[name]
        before = incarnation(name)
        assert peer.stop() == 0, peer.output()
        peer.start()
        wait_until(lambda name=name, before=before: incarnation(name) > before, 20, f"{name} has registered anew")
        cluster.wait_ready()
    view = cluster.wait_task(cluster.submit(orchestration("parallel", [outage("one", 1)])), 30)
    assert view["verdict"] == "passed", view


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_restart_of_all_peers_at_once(cluster: Cluster, shop: Shop, how: str) -> None:
    shop.start(3)
    done = cluster.wait_task(cluster.submit(orchestration("parallel", [outage("one", 1)])), 30)["id"]
    for peer in cluster.running():
        if how == "kill":
            peer.kill()
    for peer in cluster.running():
        peer.stop()
    for peer in cluster.peers.values():
        peer.start()
    cluster.wait_ready(45)
    for peer in cluster.running():
        assert peer.get(f"/api/v1/tasks/{done}")["verdict"] == "passed"
    view = cluster.wait_task(cluster.submit(orchestration("parallel", [outage("one", 1)])), 30)
    assert view["verdict"] == "passed", view


def test_a_peer_whose_data_directory_is_gone_is_a_new_member(cluster: Cluster) -> None:
    cluster.start(3)
    victim = cluster["node-3"]
    victim.kill()
    for child in victim.children():
        child.kill()
    shutil.rmtree(victim.data)
    # under its old name it is refused: it may have voted
    victim.start(cluster["node-1"].api)
    assert victim.wait_exit() == 5, victim.output()
    assert "node remove" in victim.output()
    assert "Traceback" not in victim.output()
    # once the old one is removed, the name is free
    wait_until(lambda: names(cluster["node-1"]).get("node-3") == "failed", 20, "node-3 is failed")
    cluster["node-1"].delete("/api/v1/nodes/node-3", timeout=10)
    wait_until(lambda: "node-3" not in names(cluster["node-2"]), 10, "node-3 is removed")
    victim.start(cluster["node-1"].api)
    cluster.wait_ready(40)
    assert len(cluster["node-1"].status()["quorum"]["voters"]) == 3


def test_drain_and_remove(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    task = cluster.submit(orchestration("parallel", [outage("one", 30)]))
    wait_until(lambda: shop.samplers["node-3"].samples[-1][2] == 503, 15, "the fault is on")
    with pytest.raises(ApiError) as refused:
        cluster["node-1"].delete("/api/v1/nodes/node-3")
    assert refused.value.status == 409
    cluster["node-1"].post(f"/api/v1/tasks/{task}/cancel")
    assert cluster.wait_task(task, 20)["status"] == "cancelled"
    shop.wait_clean()
    cluster["node-2"].post("/api/v1/nodes/node-3/drain")
    before = len(shop.gaps("node-3"))
    view = cluster.wait_task(cluster.submit(orchestration("parallel", [outage("two", 1)])), 30)
    assert view["targets"] == ["node-1", "node-2"]
    assert len(shop.gaps("node-3")) == before
    cluster["node-2"].delete("/api/v1/nodes/node-3", timeout=10)
    wait_until(lambda: "node-3" not in names(cluster["node-1"]), 10, "node-3 is removed")
    assert len(cluster["node-1"].status()["quorum"]["voters"]) == 2
    # a removed peer is told, and ends with a clear message
    assert cluster["node-3"].wait_exit(30) == 5, cluster["node-3"].output()[-2000:]
    assert "removed" in cluster["node-3"].output()
    # and it does not come back by itself, whatever its command line says
    cluster["node-3"].start(cluster["node-1"].api)
    assert cluster["node-3"].wait_exit(30) == 5, cluster["node-3"].output()[-2000:]
    cluster["node-3"].wait_childless()
    assert names(cluster["node-1"]).keys() == {"node-1", "node-2"}


def test_a_removal_that_would_stop_the_rest_changes_nothing(cluster: Cluster) -> None:
    cluster.start(3)
    leader = cluster.leader()
    dead, other = (peer for peer in cluster.running() if peer is not leader)
    dead.kill()
    wait_until(lambda: dead.name not in leader.status()["quorum"]["reachable"], 10, "the leader has lost it")
    with pytest.raises(ApiError) as refused:
        leader.delete(f"/api/v1/nodes/{other.name}", timeout=10)
    assert refused.value.status == 409
    assert other.name in names(leader)
    wait_until(lambda: names(leader)[dead.name] == "failed", 20, "the dead peer is failed")
    leader.delete(f"/api/v1/nodes/{dead.name}", timeout=10)
    assert leader.status()["quorum"]["voters"] == sorted([leader.name, other.name])


def test_a_joiner_that_is_killed_half_way_stands_in_nobodys_way(cluster: Cluster) -> None:
    cluster.start(2)
    joiner = cluster.add("node-3", cluster["node-1"])
    wait_until(lambda: "node-3" in names(cluster["node-1"]), 20, "its name is in the registry", 0.005)
    joiner.kill()
    cluster["node-1"].delete("/api/v1/nodes/node-2", timeout=10)
    joiner.start(cluster["node-1"].api)
    cluster.wait_ready()
    assert cluster["node-1"].status()["quorum"]["voters"] == ["node-1", "node-3"]


def test_the_leader_can_be_removed(cluster: Cluster) -> None:
    cluster.start(3)
    leader = cluster.leader()
    others = [peer for peer in cluster.running() if peer is not leader]
    others[0].post(f"/api/v1/nodes/{leader.name}/drain")
    others[0].delete(f"/api/v1/nodes/{leader.name}", timeout=10)
    assert leader.wait_exit(30) == 5
    assert cluster.leader(among=others) in others
    wait_until(lambda: leader.name not in names(others[1]), 10, "it left the registry")

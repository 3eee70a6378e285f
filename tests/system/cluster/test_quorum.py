"""Without a majority: writes are refused quickly and say why, reads go on, halt works."""

from __future__ import annotations

import time

import pytest

from raftchaos import limits
from tests.system.harness import ApiError, Cluster, Shop, orchestration, outage, wait_until


def test_a_write_without_a_quorum_is_answered_in_two_seconds(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    survivor = cluster["node-1"]
    cluster["node-2"].kill()
    cluster["node-3"].kill()
    wait_until(lambda: not survivor.status()["quorum"]["hasQuorum"], 10, "it sees that the quorum is gone")
    began = time.monotonic()
    with pytest.raises(ApiError) as refused:
        cluster.submit(orchestration("parallel", [outage("one", 1)]), survivor)
    assert time.monotonic() - began < 2.0
    assert refused.value.status == 503
    assert "1 " in refused.value.body["detail"], refused.value.body
    assert "missing" in refused.value.body["detail"], refused.value.body
    status = survivor.status()
    assert status["stale"] is True
    assert status["quorum"]["missing"] == 1
    assert survivor.get("/api/v1/tasks")["stale"] is True
    with pytest.raises(ApiError) as unready:
        survivor.get("/readyz")
    assert unready.value.status == 503
    assert survivor.get("/healthz")
    with pytest.raises(ApiError) as strong:
        survivor.get("/api/v1/tasks?consistency=strong")
    assert strong.value.status == 503


def test_halt_works_without_a_quorum_and_reaches_the_log_later(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    task = cluster.submit(orchestration("parallel", [outage("one", 30)]))
    for name in shop.ports:
        wait_until(lambda name=name: shop.samplers[name].samples[-1][2] == 503, 15, f"the fault is on at {name}")
    survivor = cluster["node-1"]
    cluster["node-2"].kill()
    cluster["node-3"].kill()
    began = time.monotonic()
    survivor.post("/api/v1/halt", {"reason": "enough"})
    wait_until(lambda: shop.samplers["node-1"].samples[-1][2] == 200, 3, "the fault is off at once")
    assert time.monotonic() - began < 3.0
    assert survivor.status()["halted"] is True
    for name in ("node-2", "node-3"):
        cluster[name].start()
    cluster.wait_ready(40)
    for peer in cluster.running():
        wait_until(lambda peer=peer: peer.status()["halted"], 10, f"{peer.name} knows of the halt")
        assert "enough" in str(peer.status()["halts"])
    assert cluster.wait_task(task, 20)["status"] == "halted"
    with pytest.raises(ApiError) as refused:
        cluster.submit(orchestration("parallel", [outage("two", 1)]))
    assert refused.value.status == 409
    cluster["node-2"].post("/api/v1/resume")
    for peer in cluster.running():
        wait_until(lambda peer=peer: not peer.status()["halted"], 10, f"{peer.name} has resumed")
    view = cluster.wait_task(cluster.submit(orchestration("parallel", [outage("three", 1)])), 30)
    assert view["verdict"] == "passed", view


def test_halt_is_total_on_reachable_peers(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    task = cluster.submit(orchestration("parallel", [outage("one", 30)]))
    for name in shop.ports:
        wait_until(lambda name=name: shop.samplers[name].samples[-1][2] == 503, 15, f"the fault is on at {name}")
    began = time.monotonic()
    cluster["node-2"].post("/api/v1/halt", {"reason": "stop"})
    for name in shop.ports:
        wait_until(lambda name=name: shop.samplers[name].samples[-1][2] == 200, 5, f"the fault is off at {name}")
    assert time.monotonic() - began < 3.0  # G6: within one second; three times that as the margin
    assert cluster.wait_task(task, 20)["status"] == "halted"


def test_a_peer_that_lost_the_quorum_reverts_by_itself(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    cluster.submit(orchestration("parallel", [outage("one", 60)]))
    for name in shop.ports:
        wait_until(lambda name=name: shop.samplers[name].samples[-1][2] == 503, 15, f"the fault is on at {name}")
    cluster["node-2"].kill()
    cluster["node-3"].kill()
    began = time.monotonic()
    for name in shop.ports:
        wait_until(lambda name=name: shop.clean(name), 20, f"the fault is off at {name}")
    assert time.monotonic() - began < (limits.LEASE + limits.REVERT) * 1.03 + 1.5

"""Peers without a vote: they join, run experiments, serve users, follow whoever leads, and are promoted by a person."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.system.harness import (
    ApiError,
    Cluster,
    PeerProcess,
    Sampler,
    Shop,
    free_port,
    orchestration,
    outage,
    wait_until,
)

OBSERVER = ("--observer",)


def observe(cluster: Cluster, name: str, proxies: list[dict[str, str]] | None = None) -> PeerProcess:
    """Start a peer that joins without a vote."""
    peer = cluster.peers[name] = PeerProcess(name, cluster.root, proxies)
    return peer.start(cluster["node-1"].api, OBSERVER)


def roles(peer: PeerProcess) -> dict[str, str]:
    return {node["name"]: node["role"] for node in peer.get("/api/v1/nodes")["nodes"]}


def behind(leader: PeerProcess, name: str) -> int | None:
    """How many entries of the log this member has not got yet, by the leader's own count."""
    nodes: list[dict[str, Any]] = leader.get("/api/v1/nodes")["nodes"]
    found: int | None = next(node["behind"] for node in nodes if node["name"] == name)
    return found


def cli(peer: PeerProcess, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raftchaos.cli.main", *words, "--peer", f"127.0.0.1:{peer.api}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_an_observer_runs_experiments_and_follows_the_next_leader(cluster: Cluster, shop: Shop) -> None:
    shop.start(3)
    observer = observe(cluster, "node-4", shop.proxies("node-4"))
    cluster.wait_ready()
    shop.samplers["node-4"] = Sampler(shop.ports["node-4"], "/node-4")
    assert roles(observer) == {**dict.fromkeys(("node-1", "node-2", "node-3"), "voter"), "node-4": "observer"}
    status = observer.status()
    assert (status["role"], status["observers"]) == ("observer", ["node-4"])
    assert status["quorum"]["voters"] == ["node-1", "node-2", "node-3"]
    # it is asked to run something, and to write that down; its leader dies meanwhile
    task = cluster.submit(orchestration("parallel", [outage("one", 4)], {"names": ["node-4"]}), observer)
    wait_until(lambda: observer.status()["activeFaults"], 15, "its fault is on")
    leader = cluster.leader()
    leader.kill()
    new = cluster.leader(among=[peer for peer in cluster.running() if peer is not leader])
    assert new is not observer
    view = cluster.wait_task(task, 30, observer)
    assert (view["status"], view["verdict"]) == ("completed", "passed"), view
    assert observer.get("/api/v1/status?consistency=strong")["leader"] == new.name
    again = cluster.submit(orchestration("parallel", [outage("two", 1)], {"names": ["node-4"]}), observer)
    assert cluster.wait_task(again, 30, observer)["verdict"] == "passed"
    # it has no vote: with one voter of three left nothing is written, whoever else is there
    new.kill()
    wait_until(lambda: not observer.status()["quorum"]["hasQuorum"], 15, "it knows that there is no majority")
    with pytest.raises(ApiError) as refused:
        cluster.submit(orchestration("parallel", [outage("three", 1)]), observer)
    assert refused.value.status == 503
    assert "2 more" in str(refused.value.body) or "1 peer is missing for a majority of 3" in str(refused.value.body)
    wait_until(lambda: not observer.ready(), 10, "it is not ready without a leader")


def test_an_observer_is_promoted_restarted_and_removed(cluster: Cluster) -> None:
    cluster.start(2)
    for name in ("node-3", "node-4"):
        observe(cluster, name)
    cluster.wait_ready()
    # by an entry for a moment, whenever one was just written
    wait_until(lambda: behind(cluster.leader(), "node-3") == 0, 10, "node-3 has the whole log")
    assert cli(cluster["node-4"], "node", "promote", "node-3").returncode == 0
    expected = {"node-1": "voter", "node-2": "voter", "node-3": "voter", "node-4": "observer"}
    wait_until(lambda: roles(cluster["node-4"]) == expected, 10, "node-3 votes")
    unknown = cli(cluster["node-4"], "node", "promote", "node-9")
    assert unknown.returncode != 0
    assert "node-9" in unknown.stderr
    # a restart finds what it is in its data, whatever the command line says
    for name in ("node-3", "node-4"):
        cluster[name].stop()
    cluster["node-3"].start(cluster["node-1"].api, OBSERVER)
    cluster["node-4"].start()
    cluster.wait_ready()
    assert roles(cluster["node-3"]) == expected
    # the promoted one counts: without it and another one there is no majority
    cluster["node-2"].kill()
    wait_until(lambda: cluster["node-1"].ready() and cluster["node-3"].ready(), 15, "two of three are enough")
    cluster["node-2"].start()
    cluster.wait_ready()
    # an observer that is removed ends; its name is free for another data directory after that only
    cluster["node-4"].kill()
    for child in cluster["node-4"].children():
        child.kill()
    shutil.rmtree(cluster["node-4"].data)
    cluster["node-4"].start(cluster["node-1"].api, OBSERVER)
    assert cluster["node-4"].wait_exit() == 5, cluster["node-4"].output()[-2000:]
    cluster["node-1"].delete("/api/v1/nodes/node-4", timeout=10)
    cluster["node-4"].start(cluster["node-1"].api, OBSERVER)
    cluster.wait_ready()
    assert roles(cluster["node-1"]) == expected
    cluster["node-2"].delete("/api/v1/nodes/node-4", timeout=10)
    assert cluster["node-4"].wait_exit(30) == 5, cluster["node-4"].output()[-2000:]
    assert "removed" in cluster["node-4"].output()


def test_observers_may_be_many_and_are_shown(cluster: Cluster) -> None:
    cluster.start(1)
    for number in range(2, 6):
        observe(cluster, f"node-{number}")
    cluster.wait_ready(60)
    shown = cli(cluster["node-3"], "node", "list", "-o", "json")
    found: list[dict[str, Any]] = json.loads(shown.stdout)["nodes"]
    assert [node["role"] for node in found] == ["voter", *["observer"] * 4]
    assert "observer" in cli(cluster["node-3"], "status").stdout
    metrics = cluster["node-3"].get("/metrics")
    assert "raftchaos_raft_observers 4.0" in metrics
    assert "raftchaos_raft_voters 1.0" in metrics


def test_an_observer_founds_no_cluster(cluster: Cluster) -> None:
    peer = cluster.peers["node-1"] = PeerProcess("node-1", cluster.root)
    peer.start(None, OBSERVER)
    assert peer.wait_exit() == 2, peer.output()
    assert "--join" in peer.output()
    assert "Traceback" not in peer.output()
    peer.start(free_port(), OBSERVER)  # nobody is there
    assert peer.wait_exit() == 3, peer.output()

#!/usr/bin/env python3
"""Writes the data directories of this release, which later releases must be able to go on from.

python tests/data/make.py        writes tests/data/VERSION; refuses to overwrite what is there

`log` is the data directory of a peer whose Raft log holds everything, `snapshot` the same after a snapshot was taken,
`cluster.backup` what `raftchaos backup` saved, `expected.json` what the peer showed of its tasks.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from raftchaos._version import VERSION
from raftchaos.agent.data_directory import DataDirectory
from raftchaos.clock import SystemClock
from raftchaos.consensus.replica import Replica, ReplicaConfig
from raftchaos.core.machine import ReplicatedState
from tests.system.harness import Cluster, Shop, Upstream, orchestration, outage, wait_until

SHOWN = ("id", "name", "status", "verdict", "reason")


def tasks(cluster: Cluster, shop: Shop) -> None:
    """Tasks that passed, were cancelled, found nobody, were halted, and one that waits until its deadline."""
    peer = cluster["node-1"]
    here = {"names": ["node-1"]}
    cluster.wait_task(cluster.submit(orchestration("parallel", [outage("one", 1)], here), id="passed"), 30)
    long = orchestration("sequential", [outage("long", 300)], here)
    cluster.submit(long, id="cancelled")
    wait_until(lambda: peer.get("/api/v1/tasks/cancelled")["status"] == "running", 10, "it runs")
    peer.post("/api/v1/tasks/cancelled/cancel", {"reason": "enough"})
    cluster.wait_task("cancelled", 30)
    cluster.submit(long, id="halted")
    peer.post("/api/v1/tasks/halted/pause")
    peer.post("/api/v1/halt", {"reason": "smoke", "id": "smoke"})
    cluster.wait_task("halted", 30)
    peer.post("/api/v1/resume", {})
    nobody = orchestration("leaderAssigned", [outage("one", 1)], {"selector": {"no": "node"}, "onNoTargets": "skip"})
    cluster.wait_task(cluster.submit(nobody, id="nobody"), 30)
    cluster.submit(orchestration("peerToPeer", [outage("one", 5)], safety={"deadlineSeconds": 60}), id="paused")
    peer.post("/api/v1/tasks/paused/pause")
    shop.close()
    wait_until(lambda: not peer.status()["activeFaults"], 10, "nothing is on")
    peer.delete("/api/v1/proxies/web")


async def take_snapshot(data: Path) -> None:
    """As the peer does it when its log has grown."""
    directory = DataDirectory(data)
    identity = directory.identity
    assert identity is not None
    machine = ReplicatedState()
    address = "127.0.0.1:0"
    config = ReplicaConfig(
        name=identity.name,
        cluster_id=identity.cluster,
        directory_id=identity.directory,
        incarnation=identity.incarnation,
        data_dir=data,
        listen=address,
        advertise=address,
        entries_before_snapshot=4,
    )
    replica = Replica.open(config, machine, clock=SystemClock())
    await replica.start()
    async with asyncio.timeout(10):
        await replica.waiting.until(lambda: replica.status().leader_ready and replica.raft.log.first_index > 1)
    await replica.close()
    directory.close()


def make(root: Path, target: Path) -> None:
    """Run a peer, and keep what it leaves."""
    cluster, upstream = Cluster(root), Upstream()
    shop = Shop(cluster, upstream)
    try:
        shop.start(1)
        tasks(cluster, shop)
        peer = cluster["node-1"]
        views: list[dict[str, Any]] = peer.get("/api/v1/tasks")["tasks"]
        expected = {"index": peer.status()["index"], "tasks": [{key: view[key] for key in SHOWN} for view in views]}
        words = ("-m", "raftchaos.cli.main", "backup", str(target / "cluster.backup"))
        subprocess.run([sys.executable, *words, "--peer", f"127.0.0.1:{peer.api}"], check=True)
        assert peer.stop() == 0, peer.output()
    finally:
        cluster.end()
        upstream.close()
    (target / "expected.json").write_text(json.dumps(expected, indent=2, sort_keys=True) + "\n")
    shutil.copytree(peer.data, target / "log", ignore=shutil.ignore_patterns("*.sock", "proxy", "main"))
    shutil.copytree(target / "log", target / "snapshot")
    asyncio.run(take_snapshot(target / "snapshot"))


def main() -> None:
    """Refuses to overwrite: what a release wrote never changes."""
    target = Path(__file__).parent / VERSION
    target.mkdir()
    with tempfile.TemporaryDirectory() as root:
        make(Path(root), target)


if __name__ == "__main__":
    main()

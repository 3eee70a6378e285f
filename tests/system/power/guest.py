"""What runs inside the virtual machine: peers, their clients, and whoever sets the clock.

`load` writes until the power is cut, `look` starts the peers again and tells what they have, `clock` sets the clock.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raftchaos import limits
from raftchaos.errors import RaftchaosError
from raftchaos.faults.undo import UndoJournal
from raftchaos.files import read_record
from tests.system.guests import say
from tests.system.harness import ApiError, Cluster, PeerProcess, Upstream, orchestration, outage, probe, wait_until
from tests.system.power.virtual_machine import DISK

PATIENCE = 90
CLIENTS, WRITES = 4, 200  # together fewer than the ended tasks that a cluster remembers
PACE = 0.05
NOBODY = orchestration("leaderAssigned", [outage("one", 1)], {"selector": {"no": "node"}, "onNoTargets": "skip"})
"""A task that ends at once: a write that can be looked for afterwards."""


class Group:
    """A cluster with the same durability everywhere, with the same addresses at each boot."""

    def __init__(self, durability: str, count: int, base: int) -> None:
        self.durability, self.base = durability, base
        self.upstream = Upstream(base + 30)
        self.cluster = Cluster(DISK / durability)
        self.cluster.root.mkdir(exist_ok=True)
        for number in range(1, count + 1):
            name = f"{durability}-{number}"
            peer = self.cluster.peers[name] = PeerProcess(name, self.cluster.root, [self._proxy(number)])
            peer.api, peer.raft = base + number, base + 10 + number

    def _proxy(self, number: int) -> dict[str, str]:
        listen = self.base + 20 + number
        return {"name": "web", "listen": f"127.0.0.1:{listen}", "upstream": f"127.0.0.1:{self.upstream.port}"}

    @property
    def peers(self) -> list[PeerProcess]:
        return list(self.cluster.peers.values())

    def start(self, *, found: bool) -> None:
        """All peers, one after the other; they join the first if the cluster is new."""
        first = self.peers[0]
        for peer in self.peers:
            peer.start(first.api if found and peer is not first else None, ("--durability", self.durability))
            up = peer.ready if found else lambda peer=peer: _ended(peer) is not None or peer.get("/healthz")
            wait_until(up, PATIENCE, f"{peer.name} is there")

    def wait_ready(self) -> None:
        self.cluster.wait_ready(PATIENCE)

    def probe(self) -> int | str:
        """What the proxy of the first peer answers."""
        return probe(self.base + 21)[2]


DISKS, KERNELS = ("disk", 3, 7100), ("process", 1, 7200)


# ---- load


def load() -> None:
    """Two clusters, a fault in the first, and clients of both, who tell of each write that was answered."""
    groups = [Group(*DISKS), Group(*KERNELS)]
    for group in groups:
        group.start(found=True)
    for group in groups:
        group.wait_ready()
    fault = orchestration("parallel", [outage("long", 600)], {"names": ["disk-1"]}, safety={"deadlineSeconds": 3600})
    groups[0].cluster.submit(fault, id="fault")
    wait_until(lambda: groups[0].probe() == 503, PATIENCE, "the fault is on")
    say(fault="on", undo=_to_undo(groups[0].peers[0].data))
    for group in groups:
        for number in range(CLIENTS):
            threading.Thread(target=_write, args=(group, number), daemon=True).start()
    threading.Event().wait()


def _write(group: Group, client: int) -> None:
    peer = group.peers[client % len(group.peers)]
    for number in range(WRITES):
        task = f"write-{client}-{number}"
        try:
            peer.post("/api/v1/tasks", {"document": NOBODY, "id": task}, timeout=30)
        except (OSError, ApiError) as error:
            say(unanswered=task, why=str(error))
            continue
        say(answered=task, by=group.durability)
        time.sleep(PACE)


def _to_undo(data: Path) -> list[str]:
    """The runs whose undo records stand open."""
    journal = UndoJournal(data)
    try:
        return [record.run for record in journal.open_records()]
    finally:
        journal.close()


# ---- look


def look(answered: str) -> None:
    """Starts everything from what the disk has, and tells what is missing of what was answered before."""
    wanted: dict[str, list[str]] = json.loads(Path(answered).read_text())
    synced, loose = Group(*DISKS), Group(*KERNELS)
    say(undo=_to_undo(synced.peers[0].data), when="before")
    for group in (synced, loose):
        for peer in group.peers:
            peer.log.write_bytes(b"")
        group.start(found=False)
    wait_until(lambda: _registered_again(synced), PATIENCE, "the peers have registered again")
    synced.wait_ready()
    say(undo=_to_undo(synced.peers[0].data), when="after", proxy=synced.probe())
    view = synced.cluster.wait_task("fault", PATIENCE)
    say(fault=view["steps"][0]["runs"][0]["status"], verdict=view["verdict"])
    for peer in synced.peers:
        say(peer=peer.name, missing=_missing(peer, wanted["disk"]), output=peer.output())
    say(hashes=wait_until(lambda: _agreement(synced), PATIENCE, "the peers agree"))
    (alone,) = loose.peers
    wait_until(lambda: alone.ready() or _ended(alone), PATIENCE, "the peer without syncs is ready or has ended")
    lost = _missing(alone, wanted["process"]) if _ended(alone) is None else wanted["process"]
    say(peer=alone.name, missing=lost, output=alone.output(), ended=_ended(alone))


def _registered_again(group: Group) -> bool:
    """Each has registered its second start, which it does when there is nothing to undo."""
    nodes = {node["name"]: node["incarnation"] for node in group.peers[0].get("/api/v1/nodes")["nodes"]}
    return all(nodes[peer.name] == read_record(peer.data / "identity.msgpack")["incarnation"] for peer in group.peers)


def _missing(peer: PeerProcess, tasks: list[str]) -> list[str]:
    known: set[str] = set()
    after = ""
    while True:
        page = peer.get(f"/api/v1/tasks?consistency=strong&limit={limits.PAGE}&after={after}", 30)
        known.update(task["id"] for task in page["tasks"])
        after = page["next"]
        if not after:
            break
    return [task for task in tasks if task not in known]


def _ended(peer: PeerProcess) -> int | None:
    assert peer.process is not None
    return peer.process.poll()


def _agreement(group: Group) -> str:
    """The hash that all peers have; empty if they differ or are not at one index."""
    views = {(status["index"], status["stateHash"]) for status in (peer.status() for peer in group.peers)}
    return views.pop()[1] if len(views) == 1 else ""


# ---- clock


def clock() -> None:
    """Sets the clock forth and back, under faults."""
    group = Group("process", 1, 7100)
    group.start(found=True)
    group.wait_ready()
    told: list[int | str] = []
    threading.Thread(target=_watch, args=(group, told), daemon=True).start()
    day = {"deadlineSeconds": 86_400}
    steps = [outage("one", 6), outage("two", 6)]
    _experiment(group, "forth", orchestration("parallel", steps, safety=day), "+1 hour")
    _experiment(group, "back", orchestration("parallel", steps, safety=day), "-1 hour")
    minute = {"deadlineSeconds": 60}
    _experiment(group, "due", orchestration("parallel", [outage("one", 50)], safety=minute), "+1 hour")
    _experiment(group, "early", orchestration("parallel", [outage("one", 6)], safety=minute), "-1 hour")
    wait_until(lambda: told[-1:] == [200], PATIENCE, "it is told that no fault is on")
    say(done=group.peers[0].output())


def _experiment(group: Group, task: str, document: dict[str, Any], step: str) -> None:
    """Sets the clock as soon as the task's fault is on everywhere, and tells how the task ended."""
    wait_until(lambda: group.probe() == 200, PATIENCE, "no fault is on")
    group.cluster.submit(document, id=task)
    wait_until(lambda: group.probe() == 503, PATIENCE, "the fault is on", 0.01)
    before = time.time()
    subprocess.run(["date", "-s", step], check=True, stdout=subprocess.DEVNULL, timeout=10)
    say(stepped=task, seconds=round(time.time() - before))
    view = group.cluster.wait_task(task, PATIENCE)
    runs = [run["status"] for step in view["steps"] for run in step["runs"]]
    (node,) = group.peers[0].get("/api/v1/nodes")["nodes"]
    say(ended=task, verdict=view["verdict"], reason=view["reason"], runs=runs, node=node["status"])


def _watch(group: Group, told: list[int | str]) -> None:
    """Tells of each change of what the proxy answers."""
    while True:
        now = group.probe()
        if told[-1:] != [now]:
            say(proxy=now)
            told.append(now)
        time.sleep(0.05)


ACTS: dict[str, Callable[..., None]] = {"load": load, "look": look, "clock": clock}

if __name__ == "__main__":
    try:
        ACTS[sys.argv[1]](*sys.argv[2:])
    except (AssertionError, OSError, RaftchaosError, ApiError, LookupError, subprocess.SubprocessError):
        logs = {str(log): log.read_text(errors="replace")[-4000:] for log in DISK.glob("*/*.log")}
        say(failed=traceback.format_exc(), logs=logs)

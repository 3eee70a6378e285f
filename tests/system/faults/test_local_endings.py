"""One peer bears every continuous fault of processes and resources; whatever is killed, the host is as it was."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from raftchaos import limits
from tests.system.faults.harms import HARMS
from tests.system.harness import Cluster, PeerProcess, orchestration, wait_until, words_of

BOUND = limits.LEASE + limits.REVERT
MEBI = 1024 * 1024
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


class Victims:
    """What the faults are done to: two processes and a folder; and what of it is changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "victim"
        self.folder.mkdir()
        self.word = f"rc-{os.getpid()}-{folder.name}"
        self.paused, self.limited = self._start("paused"), self._start("limited")
        self.soft = resource.prlimit(self.limited.pid, resource.RLIMIT_NOFILE)

    def _start(self, what: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, "-c", SLEEPER, f"{self.word}-{what}"], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        return child

    def faults(self) -> dict[str, dict[str, Any]]:
        """Parameters by fault."""
        return {
            "process_pause": {"commandLine": f"*{self.word}-paused"},
            "file_descriptors": {"commandLine": f"*{self.word}-limited"},
            "cpu_load": {"workers": 1, "percent": 20},
            "memory_pressure": {"bytes": 64 * MEBI},
            "disk_fill": {"path": str(self.folder), "bytes": 32 * MEBI},
            "disk_io_load": {"path": str(self.folder)},
        }

    def touched(self, peer: PeerProcess) -> set[str]:
        """The faults that are on, as /proc and the folder show them."""
        paused = psutil.Process(self.paused.pid).status() == psutil.STATUS_STOPPED
        limited = resource.prlimit(self.limited.pid, resource.RLIMIT_NOFILE) != self.soft
        names = os.listdir(self.folder)
        helpers = [child for child in peer.children() if "faults.resources.helper" in " ".join(words_of(child))]
        held = any(each.memory_info().rss > 60 * MEBI for each in helpers)
        seen = {
            "process_pause": paused,
            "file_descriptors": limited,
            "cpu_load": len(helpers) >= 4,
            "memory_pressure": held,
            "disk_fill": any(name.startswith(".raftchaos-fill") for name in names),
            "disk_io_load": any(name.startswith(".raftchaos-io") for name in names),
        }
        return {name for name, on in seen.items() if on}

    def clean(self, peer: PeerProcess) -> bool:
        """Nothing is on, and nothing is left."""
        if self.touched(peer) or os.listdir(self.folder) or list((peer.data / "faults").glob("*")):
            return False
        return not [child for child in peer.children() if "RAFTCHAOS_LOAD" in child.environ()]

    def close(self) -> None:
        for child in (self.paused, self.limited):
            child.kill()
            child.communicate()


@pytest.fixture
def victims(tmp_path: Path) -> Iterator[Victims]:
    """Two processes and a folder."""
    made = Victims(tmp_path)
    yield made
    made.close()


def begin(cluster: Cluster, victims: Victims, seconds: float) -> list[str]:
    """One task for each fault; returns when all are on."""
    peer = cluster["node-1"]
    tasks = []
    for name, parameters in victims.faults().items():
        step = {"name": name, "scenario": name, "durationSeconds": seconds, "parameters": parameters}
        document = orchestration("parallel", [step])
        document["metadata"] = {"name": name.replace("_", "-")}
        tasks.append(cluster.submit(document))
    wait_until(lambda: victims.touched(peer) == set(victims.faults()), 30, "every fault is on")
    return tasks


def test_they_end_with_their_steps_and_tell_what_they_did(cluster: Cluster, victims: Victims) -> None:
    cluster.start(1)
    tasks = begin(cluster, victims, 15)
    for task, name in zip(tasks, victims.faults(), strict=True):
        view = cluster.wait_task(task, 60)
        assert (view["status"], view["verdict"]) == ("completed", "passed"), (name, view)
    assert victims.clean(cluster["node-1"])


@pytest.mark.parametrize("harm", HARMS)
def test_whatever_is_killed_the_host_is_as_before(
    harm: Callable[[PeerProcess], None], cluster: Cluster, victims: Victims
) -> None:
    cluster.start(1)
    peer = cluster["node-1"]
    begin(cluster, victims, 120)
    harm(peer)
    wait_until(lambda: victims.clean(peer), BOUND * 3, "the host is as it was")

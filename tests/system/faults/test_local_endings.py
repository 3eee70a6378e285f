"""One peer bears every continuous fault of processes and resources; whatever is killed, the host is as it was."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from raftchaos import limits
from raftchaos.faults import needs
from tests.system.faults.harms import HARMS
from tests.system.harness import Cluster, PeerProcess, orchestration, wait_until, words_of

BOUND = limits.LEASE + limits.REVERT
MEBI = 1024 * 1024
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


CLOCK = '#!/bin/sh\nwhile :; do date +%s > "$1.new"; mv "$1.new" "$1"; sleep 0.1; done\n'
OFFSET = 86_400.0
MARGIN = 3.0
"""What is to be whole again within a second is given three on a busy machine."""


def helpers_of(peer: PeerProcess) -> list[psutil.Process]:
    """The processes that bear its loads."""
    return [child for child in peer.children() if "faults.resources.helper" in " ".join(words_of(child))]


class Victims:
    """What the faults are done to: two processes, a folder, and a command that tells the time; what is changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "victim"
        self.folder.mkdir()
        self.word = f"rc-{os.getpid()}-{folder.name}"
        self.plugins, self.time = folder / "plugins", folder / "time"
        self.plugins.mkdir()
        (self.plugins / "clock").write_text(CLOCK)
        (self.plugins / "clock").chmod(0o755)
        self.paused, self.limited = self._start("paused"), self._start("limited")
        self.soft = resource.prlimit(self.limited.pid, resource.RLIMIT_NOFILE)

    def _start(self, what: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, "-c", SLEEPER, f"{self.word}-{what}"], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        return child

    def faults(self) -> dict[str, dict[str, Any]]:
        """Parameters by fault; the loads come last, so that they do not hold up the others."""
        return {
            "clock_offset": {"command": ["clock", str(self.time)], "offsetSeconds": OFFSET},
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
        helpers = helpers_of(peer)
        held = any(each.memory_info().rss > 60 * MEBI for each in helpers)
        seen = {
            "process_pause": paused,
            "file_descriptors": limited,
            "cpu_load": len(helpers) >= 5,
            "memory_pressure": held,
            "disk_fill": any(name.startswith(".raftchaos-fill") for name in names),
            "disk_io_load": any(name.startswith(".raftchaos-io") for name in names),
            "clock_offset": self._tells_another_time(),
        }
        return {name for name, on in seen.items() if on}

    def _tells_another_time(self) -> bool:
        """The command has written down in the last two seconds what time it believes that it is."""
        with contextlib.suppress(FileNotFoundError):
            fresh = time.time() - self.time.stat().st_mtime < 2
            return fresh and abs(int(self.time.read_text()) - time.time() - OFFSET) < 60
        return False

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
def victims(tmp_path: Path, cluster: Cluster, require: Callable[[bool, str], None]) -> Iterator[Victims]:
    """Two processes, a folder, and a command that the peers of the cluster may run."""
    require(bool(needs.faketime_library()), "libfaketime (install the package libfaketime)")
    made = Victims(tmp_path)
    cluster.extra = ("--plugins", str(made.plugins))
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
        accepted = partial(cluster.submit, document)
        tasks.append(wait_until(accepted, 20, f"{name} is accepted: a busy node is degraded for a moment"))
    wait_until(lambda: victims.touched(peer) == set(victims.faults()), 30, "every fault is on")
    return tasks


def test_they_end_with_their_steps_and_tell_what_they_did(cluster: Cluster, victims: Victims) -> None:
    cluster.start(1)
    tasks = begin(cluster, victims, 40)
    for task, name in zip(tasks, victims.faults(), strict=True):
        view = cluster.wait_task(task, 60)
        assert (view["status"], view["verdict"]) == ("completed", "passed"), (name, view)
    wait_until(lambda: victims.clean(cluster["node-1"]), MARGIN, "the host is as it was")


def test_a_load_that_somebody_kills_fails_its_step(cluster: Cluster) -> None:
    cluster.start(1)
    step = {"name": "s", "scenario": "cpu_load", "durationSeconds": 60, "parameters": {"workers": 1, "percent": 5}}
    task = cluster.submit(orchestration("parallel", [step]))
    peer = cluster["node-1"]
    now = partial(peer.get, f"/api/v1/tasks/{task}")
    wait_until(lambda: [run["status"] for run in now()["steps"][0]["runs"]] == ["active"], 30, "the load is on")
    for helper in helpers_of(peer):
        helper.kill()
    view = cluster.wait_task(task, 30)
    assert view["status"] == "failed"
    assert "went off amid its run: the process that bears the load ended" in str(view)


@pytest.mark.parametrize("harm", HARMS)
def test_whatever_is_killed_the_host_is_as_before(
    harm: Callable[[PeerProcess], None], cluster: Cluster, victims: Victims
) -> None:
    cluster.start(1)
    peer = cluster["node-1"]
    begin(cluster, victims, 120)
    harm(peer)
    wait_until(lambda: victims.clean(peer), BOUND * 3, "the host is as it was")


@pytest.mark.parametrize("which", ["proxy", "reaper"])
def test_after_the_proxy_or_the_reaper_alone_every_fault_is_whole(
    which: str, cluster: Cluster, victims: Victims
) -> None:
    cluster.start(1)
    peer = cluster["node-1"]
    tasks = begin(cluster, victims, 40)
    word = {"proxy": "raftchaos.proxy", "reaper": "raftchaos.faults.reaper"}[which]
    killed = [child for child in peer.children() if word in words_of(child)]
    assert killed
    for child in killed:
        child.kill()
    wait_until(lambda: victims.touched(peer) == set(victims.faults()), MARGIN, "every fault is whole")
    wait_until(lambda: [each for each in peer.children() if word in words_of(each)], 10, f"another {which}")
    for task in tasks:
        assert cluster.wait_task(task, 60)["status"] == "completed"
    wait_until(lambda: victims.clean(peer), MARGIN, "the host is as it was")

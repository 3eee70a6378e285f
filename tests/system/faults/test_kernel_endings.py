"""One peer bears the faults that need netem and cgroup v2; whatever is killed, the queue and the limits are as before.

Where this kernel lacks them, `tests/system/debian` runs these tests on one that has them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftchaos import limits
from raftchaos.faults import needs
from tests.system.faults.disks import Writer
from tests.system.faults.harms import HARMS
from tests.system.faults.networks import PORT, TwoHosts, lacking
from tests.system.harness import Cluster, PeerProcess, orchestration, wait_until, words_of

BOUND = limits.LEASE + limits.REVERT
FOUR = TwoHosts.THERE[0]
DELAY_MS = 80
MEBI = 1024 * 1024


class Stage:
    """A wire and a process that writes, the faults on them, and what of it is on."""

    def __init__(self, hosts: TwoHosts, disk: Path, group: Path, writer: Writer) -> None:
        self.hosts, self.disk, self.group, self.writer = hosts, disk, group, writer
        self.before = self.look()

    def look(self) -> tuple[str, str]:
        """Nftables and traffic control, and the limits of the group."""
        return self.hosts.look(), (self.group / "io.max").read_text()

    def begin(self, cluster: Cluster, seconds: float) -> list[str]:
        """One task for each fault; returns when both are felt."""
        files = {"commandLine": f"*{self.group} {self.disk}/theirs", "path": str(self.disk)}
        parameters = {
            "network_delay": {
                "namespace": {"name": self.hosts.here}, "interface": "wire", "hosts": FOUR, "delayMs": DELAY_MS
            },
            "disk_throttle": {**files, "writeBytesPerSecond": MEBI},
        }  # fmt: skip
        tasks = []
        for name, wanted in parameters.items():
            step = {"name": name, "scenario": name, "durationSeconds": seconds, "parameters": wanted}
            document = orchestration("parallel", [step])
            document["metadata"] = {"name": name.replace("_", "-")}
            tasks.append(cluster.submit(document))
        wait_until(lambda: self.late() and self.slow(), 60, "both faults are on", 0.2)
        return tasks

    def late(self) -> bool:
        """A stranger's round trips take as long as was said."""
        found = self.hosts.measure("round_trips", host=FOUR, port=PORT, count=5)
        return statistics.median(found) * 1000 >= DELAY_MS

    def slow(self) -> bool:
        """Four MiB take seconds."""
        return self.writer.seconds() > 2.0

    def assert_clean(self) -> None:
        """All is as it was, in a moment, and nothing is felt any more."""
        wait_until(lambda: self.look() == self.before, BOUND * 3, "the host is as it was", 0.2)
        self.writer.seconds()  # the end of what was throttled before
        assert not self.late()
        assert not self.slow()


@pytest.fixture
def stage(small_disk: Path, writer: tuple[Path, Writer], require: Callable[[bool, str], None]) -> Iterator[Stage]:
    """The wire and the writer."""
    require(not lacking(), lacking())
    require(not needs.lacks("netem"), "netem in the kernel")
    hosts = TwoHosts()
    try:
        yield Stage(hosts, small_disk, *writer)
    finally:
        hosts.close()


@pytest.mark.parametrize("harm", HARMS)
def test_whatever_is_killed_the_host_is_as_before(
    harm: Callable[[PeerProcess], None], cluster: Cluster, stage: Stage
) -> None:
    cluster.start(1)
    peer = cluster["node-1"]
    stage.begin(cluster, 120)
    harm(peer)
    stage.assert_clean()
    wait_until(lambda: not list((peer.data / "faults").glob("*")), BOUND, "no undo record is left")


def test_they_stay_on_without_proxy_and_reaper_and_end_with_their_steps(cluster: Cluster, stage: Stage) -> None:
    cluster.start(1)
    peer = cluster["node-1"]
    tasks = stage.begin(cluster, 25)
    victims = [
        child for child in peer.children() if {"raftchaos.proxy", "raftchaos.faults.reaper"} & {*words_of(child)}
    ]
    assert len(victims) == 2
    for victim in victims:
        victim.kill()
    assert stage.late()
    assert stage.slow()
    for task in tasks:
        view = cluster.wait_task(task, 60)
        assert (view["status"], view["verdict"]) == ("completed", "passed"), view
    stage.assert_clean()

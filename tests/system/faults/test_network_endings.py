"""One peer bears every fault of the network in one namespace; whatever is killed, nftables and tc are as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftchaos import limits
from tests.system.faults.harms import HARMS
from tests.system.faults.networks import PORT, TwoHosts, lacking
from tests.system.harness import Cluster, PeerProcess, orchestration, wait_until, words_of

BOUND = limits.LEASE + limits.REVERT
FOUR, SIX = TwoHosts.THERE


class Wire:
    """The two hosts, the faults on them, and what of it is on."""

    def __init__(self, hosts: TwoHosts) -> None:
        self.hosts = hosts
        self.before = hosts.look()

    def faults(self) -> dict[str, dict[str, Any]]:
        """Parameters by fault. No two touch the same packets."""
        return {
            "partition": {"hosts": FOUR, "ports": PORT, "protocol": "tcp"},
            "packet_loss": {"hosts": FOUR, "ports": PORT, "protocol": "udp", "percent": 50},
            "reject": {"hosts": SIX, "ports": PORT},
            "network_bandwidth": {"hosts": FOUR, "ports": PORT + 2, "interface": "wire", "kilobytesPerSecond": 100},
            "dns_failure": {"servers": SIX},
            "dns_answer": {"names": "*", "addresses": "203.0.113.1", "servers": FOUR},
        }

    def on(self) -> set[str]:
        """The faults that are on, as a stranger sees them."""
        asked = {server: self.hosts.measure("ask_dns", server=server, name="a.test") for server in (FOUR, SIX)}
        rate = self.hosts.measure("push", host=FOUR, port=PORT, seconds=1.0)
        found = self.hosts.measure("datagrams", host=FOUR, port=PORT, count=40, timeout=0.2)
        seen = {
            "partition": self._says("TimeoutError", FOUR),
            "packet_loss": found["back"] < found["sent"],
            "reject": self._says("ConnectionRefusedError", SIX),
            "network_bandwidth": rate < 1_000_000,
            "dns_failure": asked[SIX].get("error") == "TimeoutError",
            "dns_answer": asked[FOUR].get("addresses") == ["203.0.113.1"],
        }
        return {name for name, on in seen.items() if on}

    def clean(self) -> bool:
        """Nftables and traffic control are as they were."""
        return self.hosts.look() == self.before

    def _says(self, word: str, host: str) -> bool:
        return bool(self.hosts.measure("connect", host=host, port=PORT)["said"] == word)


@pytest.fixture
def wire(require: Callable[[bool, str], None]) -> Iterator[Wire]:
    """Two hosts."""
    missing = lacking()
    require(not missing, missing)
    hosts = TwoHosts()
    yield Wire(hosts)
    hosts.close()


def begin(cluster: Cluster, wire: Wire, seconds: float) -> list[str]:
    """One task for each fault; returns when all are on."""
    tasks = []
    for name, parameters in wire.faults().items():
        own = {**parameters, "namespace": {"name": wire.hosts.here}}
        step = {"name": name, "scenario": name, "durationSeconds": seconds, "parameters": own}
        document = orchestration("parallel", [step])
        document["metadata"] = {"name": name.replace("_", "-")}
        tasks.append(cluster.submit(document))
    wait_until(lambda: wire.on() == set(wire.faults()), 40, "every fault is on", 0.2)
    return tasks


def test_they_end_with_their_steps_and_tell_what_they_did(cluster: Cluster, wire: Wire) -> None:
    cluster.start(1)
    tasks = begin(cluster, wire, 25)
    for task, name in zip(tasks, wire.faults(), strict=True):
        view = cluster.wait_task(task, 60)
        assert (view["status"], view["verdict"]) == ("completed", "passed"), (name, view)
    assert wire.clean()


@pytest.mark.parametrize("harm", HARMS)
def test_whatever_is_killed_the_host_is_as_before(
    harm: Callable[[PeerProcess], None], cluster: Cluster, wire: Wire, tmp_path: Path
) -> None:
    cluster.start(1)
    peer = cluster["node-1"]
    begin(cluster, wire, 120)
    harm(peer)
    wait_until(wire.clean, BOUND * 3, "the host is as it was")
    assert wire.on() == set()
    assert not list((tmp_path / "node-1" / "faults").glob("*"))


@pytest.mark.parametrize("which", ["proxy", "reaper"])
def test_what_bears_no_fault_of_the_network_may_be_killed(which: str, cluster: Cluster, wire: Wire) -> None:
    cluster.start(1)
    peer = cluster["node-1"]
    tasks = begin(cluster, wire, 30)
    word = {"proxy": "raftchaos.proxy", "reaper": "raftchaos.faults.reaper"}[which]
    victims = [child for child in peer.children() if word in words_of(child)]
    assert victims
    for victim in victims:
        victim.kill()
    assert wire.on() == set(wire.faults())
    for task in tasks:
        assert cluster.wait_task(task, 60)["status"] == "completed"
    assert wire.clean()


def test_what_all_processes_leave_the_kernel_ends(cluster: Cluster, wire: Wire) -> None:
    """Nobody is left to take anything back: tables that do nothing any more may stay, until the peer is started."""
    cluster.start(1)
    peer = cluster["node-1"]
    begin(cluster, wire, 120)
    children = peer.children()
    peer.kill()
    for child in children:
        child.kill()
    wait_until(lambda: not wire.on(), BOUND * 3, "the kernel has ended them all", 0.2)
    assert not wire.clean()
    peer.start()
    wait_until(wire.clean, 30, "the next start has tidied up")

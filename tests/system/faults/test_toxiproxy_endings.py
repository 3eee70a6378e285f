"""Toxics set over toxiproxy's API end with main, with a halt and with the peer; not with the cluster's lease."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from raftchaos import limits
from tests.system.faults.harms import HARMS, kill_all, stop_main
from tests.system.faults.toxiproxy_world import Toxiproxy, refuses, relays
from tests.system.harness import Cluster, PeerProcess, wait_until, words_of

BOUND = limits.MAIN_LEASE + limits.REVERT
TYPES = {
    "latency": {"latency": 1500},
    "bandwidth": {"rate": 0},
    "timeout": {"timeout": 0},
    "reset_peer": {"timeout": 0},
    "slicer": {"average_size": 1, "delay": 400_000},
    "limit_data": {"bytes": 0},
}


@pytest.fixture
def api(cluster: Cluster) -> Iterator[Toxiproxy]:
    made = Toxiproxy(cluster)
    yield made
    made.close()


class Street:
    """A proxy for each toxic, one that is disabled, and one that nobody touches."""

    def __init__(self, api: Toxiproxy) -> None:
        self.api = api
        self.peer = api.start()
        self.ports = {name: api.create(name) for name in (*TYPES, "disabled")}
        self.clean = api.create("clean")
        self.touch()

    def touch(self) -> None:
        for name, attributes in TYPES.items():
            self.api.add(name, name, **attributes)
        self.api.call("PATCH", "/proxies/disabled", {"enabled": False})
        assert self.touched()

    def touched(self) -> bool:
        """Everything is on, and nothing else."""
        served = [name for name, port in self.ports.items() if relays(port)]
        return not served and refuses(self.ports["disabled"]) and relays(self.clean)

    def relaying(self) -> bool:
        """All serve as if nothing had been."""
        return all(relays(port) for port in (*self.ports.values(), self.clean))

    def shown(self) -> list[str]:
        """What the API says is on."""
        found = self.api.call("GET", "/proxies").values()
        return [one["name"] for one in found if one["toxics"] or not one["enabled"]]

    def seen(self) -> set[tuple[str, str]]:
        """What the node reads back: by whom, and the mark."""
        return {(one["origin"], one["mark"]) for one in self.peer.get("/api/v1/faults/active")["faults"]}


@pytest.mark.parametrize("harm", HARMS)
def test_whatever_is_killed_nothing_is_left(harm: Callable[[PeerProcess], None], api: Toxiproxy) -> None:
    street = Street(api)
    harm(street.peer)
    wait_until(street.relaying, 3 * BOUND, "all proxies relay again")
    if harm is stop_main:
        street.peer.signal(signal.SIGCONT)
    elif harm is not kill_all:
        street.peer.start()
    wait_until(lambda: not street.shown() and not street.seen(), 30, "nothing is on, and nothing is said to be")
    assert street.relaying()
    street.touch()


@pytest.mark.parametrize("word", ["raftchaos.proxy", "raftchaos.faults.reaper"])
def test_after_the_proxy_or_the_reaper_alone_every_toxic_is_whole_again(word: str, api: Toxiproxy) -> None:
    street = Street(api)
    victims = [child for child in street.peer.children() if word in words_of(child)]
    assert victims
    for victim in victims:
        victim.kill()
    wait_until(street.touched, 10, "every toxic is on again")
    end = time.monotonic() + limits.MAIN_LEASE
    while time.monotonic() < end:  # and stays, though a reaper that starts finds open records
        assert street.touched()
    assert street.seen() == {("toxiproxy", "")}
    api.call("POST", "/reset")
    assert street.relaying()
    assert street.seen() == set()


def test_a_halt_takes_toxics_off_for_good(api: Toxiproxy) -> None:
    street = Street(api)
    street.peer.post("/api/v1/halt", {"reason": "stop"})
    wait_until(street.relaying, 3, "all proxies relay")
    wait_until(lambda: not street.shown(), 3, "nothing is said to be on")
    assert api.refusal("POST", "/proxies/clean/toxics", {"type": "latency"}) == (
        409,
        "the cluster is halted: nothing is put on until the halt is lifted",
    )
    assert api.refusal("POST", "/proxies/clean", {"enabled": False})[0] == 409
    street.peer.post("/api/v1/resume")
    wait_until(lambda: not street.peer.status()["halted"], 10, "the halt is lifted")
    assert street.relaying(), "what is gone does not come back"
    street.touch()


def test_a_graceful_stop_leaves_nothing_and_keeps_the_proxies(api: Toxiproxy) -> None:
    street = Street(api)
    assert street.peer.stop() == 0
    street.peer.wait_childless()
    street.peer.start()
    wait_until(street.peer.ready, 30, "the peer is back")
    assert not street.shown()
    assert street.relaying()


def test_a_peer_without_its_cluster_keeps_them(api: Toxiproxy) -> None:
    """Its lease ends and is not renewed: runs of tasks would be over, what a caller has set is not."""
    other = PeerProcess("node-2", api.cluster.root)
    api.cluster.peers["node-2"] = other
    street = Street(api)
    other.start(street.peer.api)
    wait_until(lambda: len(street.peer.get("/api/v1/nodes")["nodes"]) == 2 and other.ready(), 30, "two peers")
    other.kill()
    wait_until(lambda: not street.peer.ready(), 20, "there is no majority")
    end = time.monotonic() + limits.LEASE + limits.REVERT + 1
    while time.monotonic() < end:
        assert street.touched()
    assert len(street.shown()) == len(street.ports)
    api.add("clean", "latency", latency=700)
    assert not relays(street.clean)
    api.call("POST", "/reset")
    assert street.relaying()

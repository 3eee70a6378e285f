"""Registration: when it is asked for, that it is asked for once, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from raftchaos.core.commands import RegisterNode, RemoveNode, UpdateProxies, encode
from raftchaos.errors import Conflict
from tests.unit.agent.lease_cluster import Cluster, Peer
from tests.unit.agent.virtual_time import run_virtually, until


def play(scenario: Callable[[Cluster, Peer], Awaitable[None]], **attributes: object) -> None:
    """Runs a scenario beside the registration of one peer, which has these attributes; nobody leads at first."""

    async def main() -> None:
        cluster = Cluster("a", "b")
        peer = Peer(cluster, "a")
        for name, value in attributes.items():
            setattr(peer, name, value)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(peer.registration.run())
            await scenario(cluster, peer)
            task.cancel()

    run_virtually(main)


def test_it_registers_this_start_of_the_peer_once_somebody_leads() -> None:
    async def scenario(cluster: Cluster, peer: Peer) -> None:
        await asyncio.sleep(1.0)
        assert not peer.log.proposals
        cluster.elect("b")
        await peer.registration.wait()
        assert peer.registration.registered
        assert cluster.commands(RegisterNode) == [peer.describe()]

    play(scenario)


def test_it_waits_until_the_last_start_is_taken_back() -> None:
    """Schedule reap_owner: registering says that the faults of the last incarnation are off."""

    async def scenario(cluster: Cluster, peer: Peer) -> None:
        cluster.elect("b")
        await asyncio.sleep(5.0)
        assert not peer.log.proposals
        peer.clean = True
        await until(lambda: peer.registration.registered, 1.0)

    play(scenario, clean=False)


def test_it_repeats_with_the_same_request_id_until_there_is_an_answer() -> None:
    async def scenario(cluster: Cluster, peer: Peer) -> None:
        peer.log.lose_answers = 3
        cluster.elect("b")
        await peer.registration.wait()
        assert len(peer.log.proposals) == 4
        assert set(peer.log.proposals) == {"a:1:1"}

    play(scenario)


def test_a_name_that_another_data_directory_has_is_fatal() -> None:
    async def scenario(cluster: Cluster, peer: Peer) -> None:
        cluster.elect("b")
        await peer.registration.wait()
        second = Peer(cluster, "a")
        second.directory = "another"
        second.request_ids.next()
        await second.registration.run()

    with pytest.raises(ExceptionGroup) as raised:
        play(scenario)
    assert raised.group_contains(Conflict, match="taken")


def test_a_change_of_the_proxies_is_told_once() -> None:
    async def scenario(cluster: Cluster, peer: Peer) -> None:
        cluster.elect("b")
        await peer.registration.wait()
        peer.registration.proxies_changed()
        await asyncio.sleep(1.0)
        assert not cluster.commands(UpdateProxies)
        peer.proxies = ["orders", "payments"]
        peer.registration.proxies_changed()
        await until(lambda: cluster.commands(UpdateProxies))
        peer.registration.proxies_changed()
        await asyncio.sleep(1.0)
        assert cluster.commands(UpdateProxies) == [UpdateProxies("a", 1, ["orders", "payments"])]

    play(scenario)


def test_proxies_that_change_while_an_answer_is_awaited_are_told_afterwards() -> None:
    async def scenario(cluster: Cluster, peer: Peer) -> None:
        peer.log.lose_answers = 1
        cluster.elect("b")
        await asyncio.sleep(0.1)
        assert not peer.registration.registered
        peer.proxies = ["orders"]
        await until(lambda: cluster.commands(UpdateProxies))
        assert peer.state().nodes["a"].proxies == ("orders",)
        assert peer.log.proposals == ["a:1:1", "a:1:1", "a:1:2"]

    play(scenario)


def test_a_node_that_was_removed_goes_on() -> None:
    async def scenario(cluster: Cluster, peer: Peer) -> None:
        cluster.elect("b")
        await peer.registration.wait()
        cluster.append("b:1:1", encode(RegisterNode("b", 1, "dir-b", "", "")))
        cluster.append("b:1:2", encode(RemoveNode("a")))
        peer.proxies = []
        peer.registration.proxies_changed()
        await until(lambda: cluster.commands(UpdateProxies))
        await asyncio.sleep(1.0)
        assert len(cluster.commands(UpdateProxies)) == 1

    play(scenario)

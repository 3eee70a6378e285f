"""When a starting peer takes itself for a member."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest

from raftchaos.agent.data_directory import DataDirectory, Identity
from raftchaos.clock import SystemClock
from raftchaos.config import peer_settings
from raftchaos.consensus.config import ReplicaConfig
from raftchaos.consensus.entries import Configuration, encode_configuration
from raftchaos.core.machine import ReplicatedState
from raftchaos.errors import MachineUnusable
from raftchaos.launch import free_port
from raftchaos.model.nodes import Node
from raftchaos.peer.membership import PeerReplica, is_let_in, open_replica

NEW = Identity("b", "cluster", member=True, voted=False, directory="new", incarnation=1)
NODE = Node("b", 0, "new", "127.0.0.1:1", "127.0.0.1:2")


def config(folder: Path) -> ReplicaConfig:
    address = f"127.0.0.1:{free_port()}"
    return ReplicaConfig("b", "cluster", "new", 1, folder, listen=address, advertise=address)


async def test_a_newcomer_does_not_take_the_past_of_its_name_for_its_own(tmp_path: Path) -> None:
    replica = PeerReplica.join(config(tmp_path), ReplicatedState(), members={"a": "127.0.0.1:1"})
    both = {"a": "127.0.0.1:1", "b": "127.0.0.1:2"}
    replica.raft.entry_added((encode_configuration(Configuration(both)), 2, 1))
    assert replica.raft.is_member  # so says what it has of the log: one of its name was, before it was removed
    assert not is_let_in(replica, NEW)
    replica.nodes = lambda: {"b": dataclasses.replace(NODE, directory="old")}
    assert not is_let_in(replica, NEW)
    replica.raft.entry_added((encode_configuration(Configuration({"a": "127.0.0.1:1"})), 3, 1))
    replica.nodes = lambda: {"b": NODE}
    assert not is_let_in(replica, NEW)
    replica.raft.entry_added((encode_configuration(Configuration(both)), 5, 1))
    assert is_let_in(replica, NEW)
    await replica.close()


async def test_one_that_was_let_in_before_is_a_member(tmp_path: Path) -> None:
    replica = PeerReplica.join(config(tmp_path / "other"), ReplicatedState(), members={"a": "127.0.0.1:1"})
    replica.raft.entry_added((encode_configuration(Configuration({"b": "127.0.0.1:2"})), 2, 1))
    assert is_let_in(replica, dataclasses.replace(NEW, voted=True))
    await replica.close()


async def test_no_cluster_is_founded_if_a_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = {name: f"127.0.0.1:{free_port()}" for name in ("listen", "raft-listen")}
        settings = peer_settings(
            {**flags, "toxiproxy-listen": address, "name": "node-1", "data-dir": str(tmp_path), "insecure": True}
        )
        directory = DataDirectory(tmp_path)
        directory.begin("node-1", SystemClock())
        with pytest.raises(MachineUnusable, match=address):
            await open_replica(settings, directory, ReplicatedState(), None)
        assert directory.identity is not None
        assert not directory.identity.cluster
        directory.close()

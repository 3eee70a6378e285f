"""Every private name of PySyncObj that is used still exists, and nothing of it can unpickle."""

from __future__ import annotations

import inspect
import pickle

import pysyncobj
import pysyncobj.journal
import pysyncobj.pickle
import pysyncobj.syncobj
import pytest
from consensus_virtual import one_raft, virtual_time

from raftchaos.consensus import codec, seams
from raftchaos.consensus.node import PeerNode, split_address
from raftchaos.consensus.timings import Timings
from raftchaos.errors import UsageError


def test_it_is_the_version_that_was_mended() -> None:
    assert pysyncobj.syncobj.VERSION == "0.3.17"


@pytest.mark.parametrize("name", seams.PRIVATE_METHODS)
def test_private_methods_exist(name: str) -> None:
    assert callable(getattr(pysyncobj.SyncObj, f"_SyncObj__{name}"))


@pytest.mark.parametrize("name", seams.PRIVATE_ATTRIBUTES)
def test_private_attributes_are_set_by_the_constructor(name: str) -> None:
    assert f"self.__{name} =" in inspect.getsource(pysyncobj.SyncObj.__init__)
    with virtual_time():
        assert hasattr(one_raft()[0], f"_SyncObj__{name}")


@pytest.mark.parametrize("name", seams.MODULE_ATTRIBUTES)
def test_module_attributes_exist(name: str) -> None:
    assert hasattr(pysyncobj.syncobj, name)


def test_the_tick_that_is_driven_and_the_callbacks_exist() -> None:
    assert "self._onTick(timeToWait)" in inspect.getsource(pysyncobj.SyncObj.doTick)
    for name in ("_onMessageReceived", "_onNodeConnected", "_onNodeDisconnected"):
        assert callable(getattr(pysyncobj.syncobj.Transport, name))


def test_overridden_methods_are_the_ones_that_are_called() -> None:
    for name in ("onMessageReceived", "onNodeConnected", "sendAppendEntries", "generateRaftTimeout", "doApplyCommand"):
        assert f"_SyncObj__{name}" in vars(seams.Seams)


def test_no_pickle_is_left() -> None:
    bomb = pickle.dumps(ValueError("bang"))
    for loads in (pysyncobj.pickle.loads, pysyncobj.journal.loads, codec.loads):
        assert loads is codec.loads
        with pytest.raises(ValueError):
            loads(bomb)
    assert pysyncobj.syncobj.pickle.dumps is codec.dumps


def test_a_node_travels_with_its_address_and_is_equal_by_name() -> None:
    node = codec.loads(codec.dumps({"node": PeerNode("a", "10.0.0.1:7481")}))["node"]
    assert (node.name, node.address) == ("a", "10.0.0.1:7481")
    assert node == PeerNode("a", "elsewhere:1")
    assert hash(node) == hash(PeerNode("a", "elsewhere:1"))
    with pytest.raises(TypeError):
        codec.dumps(object())


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x81\xa1", b"\x01\x02", b"\xd4\x05x", b"\xc7\x01\x01\x01", b"\x91" * 5_000]
)
def test_the_codec_takes_only_data(data: bytes) -> None:
    with pytest.raises(ValueError):
        codec.loads(data)


def test_timeouts_that_cannot_work_are_explained() -> None:
    with pytest.raises(UsageError, match="three times"):
        Timings(election_min=0.1, election_max=0.3, append_period=0.05)
    with pytest.raises(UsageError, match="split the vote"):
        Timings(election_min=0.3, election_max=0.3)


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:port", "host:70000", "host:-1"])
def test_addresses_that_are_none_are_explained(address: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        split_address(address)


def test_addresses_may_be_ipv6() -> None:
    assert split_address("[::1]:7481") == ("::1", 7481)
    assert split_address("localhost:7481") == ("localhost", 7481)

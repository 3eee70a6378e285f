"""Strangers at the Raft port: they change nothing, are closed in time, and are logged once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import random
import struct
from typing import Any

import pytest
from consensus_support import RealCluster, eventually

from raftchaos import limits
from raftchaos.consensus import handshake
from raftchaos.consensus.handshake import Complaints, Identity
from raftchaos.consensus.messages import FIELDS, check
from raftchaos.consensus.node import split_address
from raftchaos.core.minutes import MinuteCounts

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Bomb:
    def __reduce__(self) -> Any:
        return (exit, (99,))


@pytest.fixture(autouse=True)
def _short_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE", 0.3)


@pytest.fixture
async def pair(cluster: RealCluster) -> RealCluster:
    await cluster.grow("a", "b")
    return cluster


async def connect(cluster: RealCluster, name: str = "a") -> Streams:
    return await asyncio.open_connection(*split_address(cluster.addresses[name]))


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close this side, and wait until it is closed."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def closed(reader: asyncio.StreamReader) -> bytes:
    """Everything the peer said until it closed the connection."""
    async with asyncio.timeout(5):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


def hello(**changes: Any) -> bytes:
    fields = {
        "type": "hello",
        "protocol": handshake.PROTOCOL,
        "cluster": "test-cluster",
        "name": "b",
        "directory": "directory-of-b",
        "incarnation": 7,
        "address": "127.0.0.1:1",
        "to": "a",
    }
    return handshake.frame({**fields, **changes})


STRANGERS = {
    "a pickle": handshake.SIZE.pack(len(pickle.dumps(Bomb()))) + pickle.dumps(Bomb()),
    "a bare pickle": pickle.dumps(Bomb()),
    "random bytes": random.Random(4).randbytes(5_000),
    "two gibibytes announced": struct.pack(">I", 2**31) + b"x" * 100,
    "a hello without a name": hello(name=None),
    "a hello without an address": hello(address="somewhere"),
    "a list": handshake.SIZE.pack(3) + b"\x92\x01\x02",
    "nothing at all": b"",
    "half a frame": b"\x00\x00\x00\x40abc",
    "signs of life only": b"\x00" * 40,
}


@pytest.mark.parametrize("kind", STRANGERS)
async def test_a_stranger_changes_nothing_and_is_logged_once(
    pair: RealCluster, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = (await pair.leader()).status()
    with caplog.at_level(logging.WARNING):
        addresses = []
        for _ in range(3):
            reader, writer = await connect(pair)
            host, port = writer.get_extra_info("sockname")
            addresses.append(f"{host}:{port}")
            writer.write(STRANGERS[kind])
            assert await closed(reader) == b""
            await hang_up(writer)
    complaints = [record.getMessage() for record in caplog.records if "Raft port" in record.getMessage()]
    assert len(complaints) == 3
    assert all(address in complaint for address, complaint in zip(addresses, complaints, strict=True))
    # The term is not looked at: a busy machine may hold an election meanwhile.
    after = (await pair.leader()).status()
    assert after.quorum.voters == before.quorum.voters
    assert not any(machine.commands for machine in pair.machines.values())
    assert (await (await pair.leader()).propose(f"after:{kind}", b"x")).result == {"position": 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cluster": "another"}, "foreign cluster"),
        ({"protocol": 99}, "protocol 99"),
        ({"name": "mallory"}, "not a member"),
        ({"name": "a"}, "another peer is called"),
        ({"to": "c"}, "this is a, not c"),
        ({"directory": "an empty new one"}, "another data directory"),
    ],
)
async def test_who_does_not_belong_is_refused_with_the_reason(
    pair: RealCluster, changes: dict[str, Any], reason: str
) -> None:
    reader, writer = await connect(pair)
    writer.write(hello(**changes))
    assert reason.encode() in await closed(reader)
    await hang_up(writer)
    leader = await pair.leader()
    assert leader.status().quorum.reachable == ("a", "b")
    assert (await leader.propose("after", b"x")).result == {"position": 1}


async def test_many_silent_connections_do_not_keep_a_peer_out(
    pair: RealCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE", 60.0)
    crowd = [await connect(pair) for _ in range(limits.HANDSHAKES_OPEN + 20)]
    await eventually(lambda: sum(reader.at_eof() for reader, _ in crowd) >= 20)
    await pair.stop("b")
    await pair.restart("b")
    await pair.settled()
    for _, writer in crowd:
        await hang_up(writer)


async def test_a_member_that_sends_nonsense_loses_its_connection_only(
    cluster: RealCluster, caplog: pytest.LogCaptureFixture
) -> None:
    await cluster.grow("a", "b", "c")
    leader = await cluster.leader()
    follower = cluster.replicas[cluster.followers()[0]]
    assert follower.transmit(leader.name, {"type": "append", "term": "many"})
    assert follower.transmit(leader.name, {"type": "os.system"})
    await eventually(lambda: "makes no sense" in caplog.text)  # it is back within milliseconds
    await cluster.settled()
    await eventually(lambda: all(len(each.status().quorum.reachable) == 3 for each in cluster.replicas.values()))


def test_messages_are_checked_field_by_field() -> None:
    good = {
        "type": "append",
        "term": 1,
        "commit": 1,
        "prev": 3,
        "prev_term": 1,
        "entries": ((b"\x01", 4, 1),),
        "round": 0,
    }
    assert check(good) is good
    for changes in (
        {"term": -1},
        {"term": "1"},
        {"entries": ((b"\x01", 5, 1),)},
        {"entries": ((b"", 4, 1),)},
        {"entries": ((b"\x01", 4),)},
        {"entries": (7,)},
        {"type": "eval"},
        {"type": None},
        {"round": None},
    ):
        with pytest.raises(ValueError):
            check({**good, **changes})
    for nothing in (None, 1, (), [], {}, b"x"):
        with pytest.raises(ValueError):
            check(nothing)
    for kind, fields in FIELDS.items():
        if fields:
            with pytest.raises(ValueError):
                check({"type": kind})
    with pytest.raises(ValueError):
        check({"type": "chunk", "term": 1, "key": (1,), "offset": 0, "data": b"", "last": True, "round": 0})


def test_counts_by_the_minute_are_bounded_and_begin_anew() -> None:
    counts = MinuteCounts()
    assert [counts.note("a", now) for now in (0.0, 1.0, 59.0, 60.0)] == [0, 1, 2, 0]
    for number in range(5_000):
        counts.note(str(number), 61.0)
    assert len(counts._counts) <= 1_024
    assert counts.note("a", 62.0) == 0
    assert counts.note("4999", 62.0) == 1


def test_a_host_that_sends_many_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    with caplog.at_level(logging.WARNING):
        for port in range(1_000):
            complaints.closed(("10.0.0.1", port), "rude")
    assert len(caplog.records) < 50
    assert "no more for now" in caplog.records[-1].getMessage()


def test_a_hello_survives_the_wire() -> None:
    identity = Identity("cluster", "a", "directory", 3, "127.0.0.1:1")
    found = handshake.parse(identity.hello("b")[handshake.SIZE.size :])
    assert (found.identity, found.to, found.protocol) == (identity, "b", handshake.PROTOCOL)

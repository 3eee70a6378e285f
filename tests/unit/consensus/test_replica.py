"""Real replicas: restarts, snapshots, and what happens when a machine fails them."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import sys
from pathlib import Path

import pytest
from consensus_support import Machine, RealCluster, eventually, write

from raftchaos import limits
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.replica import Replica
from raftchaos.core.interfaces import Entry
from raftchaos.errors import Conflict, DataCorrupt, MachineUnusable, NoQuorum, OutcomeUnknown


async def test_each_peer_and_all_at_once_restart_with_everything(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    await write(cluster, 10)
    for name in ("a", "b", "c"):
        await cluster.stop(name)
        await cluster.restart(name)
        await cluster.settled()
    await write(cluster, 10, prefix="v")
    await cluster.settled()
    terms = {name: replica.status().term for name, replica in cluster.replicas.items()}
    for name in ("a", "b", "c"):
        await cluster.stop(name)
    for name in ("a", "b", "c"):
        replica = await cluster.restart(name)
        assert replica.status().term >= terms[name]
    await cluster.settled()
    assert [len(machine.commands) for machine in cluster.machines.values()] == [20, 20, 20]
    assert len({tuple(machine.commands) for machine in cluster.machines.values()}) == 1


async def test_a_single_peer_shows_its_state_after_a_restart_without_the_others(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    await write(cluster, 10)
    await cluster.settled()
    for name in ("a", "b", "c"):
        await cluster.stop(name)
    replica = await cluster.restart("a")
    await eventually(lambda: len(cluster.machines["a"].commands) == 10)
    status = replica.status()
    assert (status.leader, status.ready, status.quorum.missing) == (None, False, 1)


async def test_a_lagging_peer_gets_a_snapshot(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path, entries_before_snapshot=50)
    try:
        await cluster.grow("a", "b", "c")
        lagging = cluster.followers()[0]
        await cluster.stop(lagging)
        await write(cluster, 500, size=2_000)
        leader = await cluster.leader()
        await eventually(lambda: leader.raft.log.first_index > 100)
        await cluster.restart(lagging)
        await cluster.settled()
        assert cluster.replicas[lagging].raft.counts["installed"] >= 1
        assert cluster.machines[lagging].restores >= 1
        await write(cluster, 10, prefix="v")
        await cluster.settled()
        assert cluster.machines[lagging].commands == cluster.machines[leader.name].commands
        commands = list(cluster.machines[lagging].commands)
        await cluster.stop(lagging)
        await cluster.restart(lagging)  # from its own files, the received snapshot among them
        assert cluster.machines[lagging].restores == 1
        await cluster.settled()
        assert cluster.machines[lagging].commands == commands
        assert (tmp_path / lagging / "raft" / "log").stat().st_size < 1_000_000
    finally:
        await cluster.close()


async def test_a_large_backlog_reaches_a_follower_in_bounded_frames(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    lagging = cluster.followers()[0]
    await cluster.stop(lagging)
    leader = await cluster.leader()
    for i in range(24):
        await leader.propose(f"big:{i}", b"x" * limits.COMMAND, timeout=10)
    await cluster.restart(lagging)
    await cluster.settled()
    assert len(cluster.machines[lagging].commands) == 24


async def test_a_directory_that_was_used_is_opened_not_founded(cluster: RealCluster) -> None:
    await cluster.grow("a")
    await cluster.stop("a")
    assert Replica.exists(cluster.root / "a")
    with pytest.raises(Conflict):
        Replica.create(cluster.config("a"), Machine())
    with pytest.raises(Conflict):
        Replica.join(cluster.config("a"), Machine(), members={})


async def test_a_write_in_flight_when_the_leader_dies_is_made_once(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    leader = await cluster.leader()
    follower = cluster.replicas[cluster.followers()[0]]
    writes = [asyncio.ensure_future(follower.propose(f"f:{i}", b"%d" % i, timeout=10)) for i in range(200)]
    await asyncio.sleep(0)
    await cluster.stop(leader.name)
    outcomes = await asyncio.gather(*writes)
    assert sorted(outcome.result["position"] for outcome in outcomes) == list(range(1, 201))
    await cluster.settled()
    assert all(sorted(map(int, each.commands)) == list(range(200)) for each in list(cluster.machines.values())[1:])


async def test_a_write_that_may_have_been_made_is_not_called_definite(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    leader = await cluster.leader()
    others = cluster.followers()
    for name in others:
        cluster.replicas[name]._driver.stop()  # connected, and silent
    with pytest.raises(OutcomeUnknown) as caught:  # it entered the log of one that was still the leader
        await leader.propose("maybe", b"x", timeout=1.0)
    assert caught.value.details["request_id"] == "maybe"
    for name in others:
        await cluster.stop(name)
    with pytest.raises(NoQuorum, match="1 peer is missing"):
        await leader.propose("never", b"x", timeout=0.2)


async def test_a_leader_whose_followers_are_gone_takes_no_write(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    leader = await cluster.leader()
    for name in cluster.followers():
        await cluster.stop(name)
    last = leader.status().last_index
    with pytest.raises(NoQuorum, match="1 peer is missing"):
        await leader.propose("never", b"x", timeout=0.5)
    assert leader.status().last_index == last


async def test_a_port_in_use_is_named(cluster: RealCluster) -> None:
    await cluster.found("a")
    config = dataclasses.replace(cluster.config("b"), listen=cluster.addresses["a"])
    replica = Replica.create(config, Machine(), rng=random.Random(1))
    with pytest.raises(MachineUnusable, match=cluster.addresses["a"]):
        await replica.start()
    await replica.close()


async def test_a_silent_connection_is_dropped(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    leader = await cluster.leader()
    transport = leader.raft.transport
    name = cluster.followers()[0]
    connection = transport._connections[name]  # type: ignore[attr-defined]
    connection._transport.pause_reading()
    await eventually(lambda: connection.gone.is_set())
    await cluster.settled()
    assert transport._connections[name] is not connection  # type: ignore[attr-defined]


async def test_a_peer_that_does_not_read_loses_its_connection(cluster: RealCluster) -> None:
    await cluster.grow("a", "b")
    leader = await cluster.leader()
    (name,) = cluster.followers()
    follower = cluster.replicas[name]
    follower.raft.transport._connections[leader.name]._transport.pause_reading()  # type: ignore[attr-defined]
    connection = leader.raft.transport._connections[name]  # type: ignore[attr-defined]
    sent = 0
    while leader.transmit(name, {"type": "application", "body": {"x": b"x" * 1_000_000}}):
        sent += 1
        assert sent < 100
    assert not leader.send(name, {"x": 1})
    await eventually(lambda: connection.gone.is_set())
    await cluster.settled()


async def test_a_full_disk_stops_the_replica_and_says_so(
    cluster: RealCluster, caplog: pytest.LogCaptureFixture
) -> None:
    await cluster.grow("a", "b", "c")
    leader = await cluster.leader()

    def full() -> None:
        raise OSError(28, "No space left on device")

    leader.raft.log.flush = full  # type: ignore[method-assign]
    with pytest.raises((NoQuorum, OutcomeUnknown)):
        await leader.propose("w:1", b"x")
    await leader.stopped.wait()
    assert isinstance(leader.failure, MachineUnusable)
    assert "No space" in str(leader.failure)
    assert "the replica stops: [Errno 28] No space left on device" in caplog.text
    assert "Traceback" not in caplog.text
    assert leader.status().leader is None
    with pytest.raises(NoQuorum, match="stopped"):
        await leader.propose("w:2", b"x")
    del leader.raft.log.flush
    cluster.replicas.pop(leader.name)
    await leader.close()
    await write(cluster, 5)


async def test_a_state_machine_that_raises_stops_the_replica(cluster: RealCluster) -> None:
    replica = await cluster.found("a")

    def broken(entry: Entry) -> object:
        raise RuntimeError("a defect")

    cluster.machines["a"].apply = broken  # type: ignore[method-assign]
    with pytest.raises((NoQuorum, OutcomeUnknown)):
        await replica.propose("w:1", b"x")
    await replica.stopped.wait()
    assert str(replica.failure) == "a defect"


async def test_a_state_that_the_machine_does_not_believe_is_refused(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path, entries_before_snapshot=20)
    try:
        await cluster.grow("a")
        await write(cluster, 100)
        replica = cluster.replicas["a"]
        await eventually(lambda: replica.raft.snapshots.key is not None)
        await cluster.stop("a")

        class Unbelieving(Machine):
            def restore(self, data: bytes) -> None:
                raise ValueError("of a newer version")

        with pytest.raises(DataCorrupt, match=r"snapshot is damaged: .*newer version"):
            Replica.open(cluster.config("a"), Unbelieving())
    finally:
        await cluster.close()


async def test_closing_answers_everyone_who_waits(cluster: RealCluster) -> None:
    await cluster.grow("a", "b", "c")
    for name in cluster.followers():
        await cluster.stop(name)
    (left,) = cluster.replicas.values()
    await eventually(lambda: left.status().leader is None)
    waiting = [
        asyncio.ensure_future(left.propose("w:1", b"x", timeout=30)),
        asyncio.ensure_future(left.read_barrier(timeout=30)),
    ]
    await asyncio.sleep(0)
    await cluster.stop(left.name)
    for each in waiting:
        with pytest.raises(NoQuorum):
            await each
    with pytest.raises(NoQuorum):
        await left.propose("w:2", b"x")
    assert not left.send(left.name, {})


async def test_a_message_that_is_too_large_is_not_sent(cluster: RealCluster) -> None:
    await cluster.grow("a", "b")
    leader = await cluster.leader()
    (name,) = cluster.followers()
    assert not leader.send(name, {"x": b"x" * limits.FRAME})
    assert leader.send(name, {"x": b"x" * 100_000})
    assert leader.status().quorum.reachable == ("a", "b")


WRITER = """
import asyncio, pathlib, sys
sys.path.insert(0, sys.argv[2])
from consensus_support import RealCluster

async def main():
    cluster = RealCluster(pathlib.Path(sys.argv[1]), entries_before_snapshot=200)
    cluster.addresses["a"] = "127.0.0.1:0"
    replica = await cluster.found("a")
    for i in range(1_000_000):
        await replica.propose(f"w:{i}", b"%d" % i, timeout=10)
        print(i, flush=True)

asyncio.run(main())
"""


async def test_sigkill_loses_nothing_that_was_acknowledged(cluster: RealCluster) -> None:
    for round_number in range(3):
        root = cluster.root / str(round_number)
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(root), str(Path(__file__).parent), stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        for _ in range(300 + 77 * round_number):
            acknowledged = int(await writer.stdout.readline())
        writer.kill()
        rest = (await writer.stdout.read()).split(b"\n")[:-1]
        acknowledged = int(rest[-1]) if rest else acknowledged
        await writer.wait()
        again = RealCluster(root)
        await again.restart("a")
        await again.leader()
        assert again.machines["a"].commands[: acknowledged + 1] == [str(i) for i in range(acknowledged + 1)]
        await again.close()


async def test_a_handler_that_raises_disturbs_nobody(cluster: RealCluster) -> None:
    await cluster.grow("a", "b")
    leader = await cluster.leader()
    got: list[str] = []

    def broken(sender: str, message: object) -> None:
        raise RuntimeError("broken")

    leader.on_message(broken)
    leader.on_message(lambda sender, message: got.append(sender))
    assert cluster.replicas[cluster.followers()[0]].send(leader.name, {"x": 1})
    await eventually(lambda: bool(got))
    assert leader.failure is None


async def test_late_answers_to_read_questions_match_nothing(cluster: RealCluster) -> None:
    await cluster.grow("a", "b")
    leader = await cluster.leader()
    (name,) = cluster.followers()
    follower = cluster.replicas[name]
    before = f"{name}:{follower.config.incarnation - 1}:1"
    leader.transmit(name, {"type": "read_index_reply", "id": before, "index": 1})
    index = (await leader.propose("w:1", b"x")).index
    assert await follower.read_barrier(timeout=5) >= index
    assert PeerNode(name, "") in leader.raft.match_index

"""Halts: at once, everywhere that can be reached, remembered, and lifted only by the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raftchaos import limits
from raftchaos.core.commands import Resume
from raftchaos.errors import DataCorrupt, UsageError
from raftchaos.files import read_record
from raftchaos.model.runs import RunStatus
from tests.unit.agent.agent_world import Cluster, status_is, until


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    await made.close()


async def test_a_halt_reverts_is_remembered_told_and_logged(cluster: Cluster) -> None:
    first, second = await cluster.add("a"), await cluster.add("b")
    run = await cluster.task()
    await until(status_is(first, run, RunStatus.ACTIVE))
    await until(lambda: second.proxy.faults)
    answer = await first.halts.halt("smoke in the rack")
    assert (answer.logged, answer.told) == (True, ("a", "b"))
    await until(lambda: not first.proxy.faults and not second.proxy.faults)
    assert [halt["reason"] for halt in read_record(first.folder / "halt.msgpack")] == ["smoke in the rack"]
    await until(lambda: second.state.halted and second.halts.halted)
    await until(lambda: len(read_record(second.folder / "halt.msgpack") or []) == 1)
    assert first.state.halts[answer.id].origin == "a"
    assert first.halts.unlogged == ()


async def test_it_is_dropped_when_the_state_knows_it_as_lifted_and_a_late_message_is_ignored(cluster: Cluster) -> None:
    first, second = await cluster.add("a"), await cluster.add("b")
    answer = await first.halts.halt("because")
    await until(lambda: second.halts.halted)
    await cluster.say(Resume([answer.id]))
    await until(lambda: not first.halts.halted and not second.halts.halted)
    await until(lambda: read_record(first.folder / "halt.msgpack") == [])
    assert first.replica.send("b", {"type": "halt", "id": answer.id, "reason": "late", "origin": "a"})
    await until(lambda: second.mailbox.received["halt"] >= 2)
    assert not second.halts.halted
    assert (await first.halts.halt("again", answer.id)).logged
    assert not first.halts.halted


async def test_it_works_without_a_quorum_and_is_logged_when_there_is_one(cluster: Cluster) -> None:
    nodes = [await cluster.add(name) for name in ("a", "b", "c")]
    run = await cluster.task()
    await until(status_is(nodes[0], run, RunStatus.ACTIVE))
    cluster.network.partition(["a"], ["b", "c"])
    answer = await nodes[0].halts.halt("cut off")
    assert (answer.logged, answer.told) == (False, ("a",))
    assert [halt.id for halt in nodes[0].halts.unlogged] == [answer.id]
    await until(lambda: not nodes[0].proxy.faults)
    assert not nodes[1].halts.halted
    cluster.network.heal()
    await until(lambda: all(answer.id in node.state.halts for node in nodes))


async def test_it_survives_a_restart_of_its_peer(cluster: Cluster) -> None:
    node = await cluster.add("a")
    await cluster.add("b")
    await cluster.add("c")
    cluster.network.partition(["a"], ["b", "c"])
    answer = await node.halts.halt("cut off")
    await node.kill()
    cluster.network.kill("a")
    again = await cluster.add("a", 2, register=False)
    assert again.halts.halted
    cluster.network.heal()
    await until(lambda: answer.id in again.state.halts)


async def test_the_same_halt_again_is_one_halt(cluster: Cluster) -> None:
    node = await cluster.add("a")
    answers = [await node.halts.halt("once", "my-halt") for _ in range(3)]
    assert {answer.id for answer in answers} == {"my-halt"}
    assert list(node.state.halts) == ["my-halt"]


async def test_more_than_can_be_remembered_keep_the_peer_halted(cluster: Cluster) -> None:
    node = await cluster.add("a")
    for number in range(limits.HALTS_LOCAL + 2):
        halt = {"type": "halt", "id": f"h{number}", "reason": "", "origin": "a", "by": ["ci", "operator", "", "socket"]}
        node.replica.send("a", halt)
    await until(lambda: node.mailbox.received["halt"] >= limits.HALTS_LOCAL + 2)
    assert len(node.halts._callers) == limits.HALTS_LOCAL
    assert node.halts.halted
    await until(lambda: len(read_record(node.folder / "halt.msgpack") or []) == limits.HALTS_LOCAL)


async def test_bad_ids_are_refused(cluster: Cluster) -> None:
    node = await cluster.add("a")
    bad = ["x" * 1000, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 60, "a\nb", "\ud800"]
    for text in bad:  # what the log refuses could never be lifted
        with pytest.raises(UsageError, match="halt id"):
            await node.halts.halt("why", text)
    for text in ["", *bad[:3]]:
        node.replica.send("a", {"type": "halt", "id": text, "reason": "", "origin": "a"})
    await until(lambda: node.mailbox.received["halt"] == 4)
    assert not node.halts.halted


async def test_a_reason_that_is_no_text_is_told_as_far_as_it_is(cluster: Cluster) -> None:
    """JSON may hold half a surrogate pair; it must not keep a halt from being obeyed, remembered and logged."""
    node = await cluster.add("a")
    answer = await node.halts.halt("smoke\ud800")
    assert answer.logged
    assert node.state.halts[answer.id].reason == "smoke?"
    assert [halt["reason"] for halt in read_record(node.folder / "halt.msgpack")] == ["smoke?"]


async def test_a_damaged_file_is_not_taken_for_no_halt(cluster: Cluster) -> None:
    (cluster.folder / "a").mkdir()
    (cluster.folder / "a" / "halt.msgpack").write_bytes(b"garbage, longer than a head of it")
    with pytest.raises(DataCorrupt, match=r"halt\.msgpack"):
        await cluster.add("a")


async def test_a_disk_that_cannot_be_written_does_not_keep_a_halt_from_being_obeyed(cluster: Cluster) -> None:
    node = await cluster.add("a")
    (node.folder / "halt.msgpack.new").mkdir()
    answer = await node.halts.halt("full disk")
    assert answer.logged
    assert node.halts.halted

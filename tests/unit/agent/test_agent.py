"""The agent in its cluster: runs are injected once, end in time, and never outlive lease, halt or peer."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raftchaos import limits
from raftchaos.core.commands import CancelTask, NodeFailed, PauseTask
from raftchaos.core.service_records import ActiveFault
from raftchaos.faults.undo import UndoJournal
from raftchaos.model.resolved import CoordinationMode
from raftchaos.model.runs import RunStatus
from tests.unit.agent.agent_world import Cluster, status_is, until

ACTIVE = RunStatus.ACTIVE
INTERRUPTED = RunStatus.INTERRUPTED


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    await made.close()


async def test_a_run_is_granted_injected_told_recovered_and_forgotten(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "raftchaos.agent")
    node = await cluster.add("a")
    run = await cluster.task(seconds=0.6)
    key = f"{run}#0@web"
    await until(status_is(node, run, ACTIVE))
    assert node.run_of(run).targets == ("proxy:web",)
    assert node.proxy.faults == {key: ("latency", "web")}
    assert node.agent.active_faults() == (ActiveFault(str(run), "latency", "proxy:web"),)
    assert node.agent.uses_target("proxy:web")
    node.proxy.touch(key, 3)
    await until(status_is(node, run, RunStatus.SUCCEEDED))
    assert node.run_of(run).effects == ({"touched": 3},)
    assert node.proxy.faults == {}
    await until(lambda: not node.agent.active_faults() and str(run) not in node.executor.unfinished())
    assert node.proxy.injections == [key]
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split()[0:2] for line in lines if line.startswith(("injected ", "recovered "))] == [
        ["injected", f"run={run}"],
        ["recovered", f"run={run}"],
    ]


async def test_a_run_that_touched_nothing_says_so_in_words(cluster: Cluster) -> None:
    node = await cluster.add("a")
    run = await cluster.task(seconds=0.2)
    await until(status_is(node, run, RunStatus.SUCCEEDED))
    assert node.run_of(run).reason.startswith("no traffic reached proxy web ")


async def test_the_end_of_the_lease_interrupts_and_a_new_lease_does_not_take_it_up(cluster: Cluster) -> None:
    node = await cluster.add("a")
    run = await cluster.task()
    await until(status_is(node, run, ACTIVE))
    node.lapse()
    await until(lambda: not node.proxy.faults)
    node.lease.begin()
    await until(status_is(node, run, INTERRUPTED))
    assert node.run_of(run).reason == "leaseEnded"
    assert len(node.proxy.injections) == 1


async def test_a_lease_that_ended_and_began_again_between_two_looks_interrupts_too(cluster: Cluster) -> None:
    node = await cluster.add("a")
    run = await cluster.task()
    await until(status_is(node, run, ACTIVE))
    node.lease.begin()
    node.agent.wake()
    await until(status_is(node, run, INTERRUPTED))
    assert node.proxy.faults == {}


async def test_a_grant_whose_lease_ended_before_the_injection_is_over(cluster: Cluster) -> None:
    node = await cluster.add("a")
    journal = UndoJournal(node.folder)
    assert journal.try_lock()  # so that the injection waits
    run = await cluster.task()
    await until(status_is(node, run, RunStatus.GRANTED))
    node.lapse()
    node.lease.begin()
    journal.unlock()
    journal.close()
    await until(status_is(node, run, INTERRUPTED))
    assert node.run_of(run).reason == "leaseEnded"
    assert node.proxy.injections == []


@pytest.mark.parametrize(("command", "reason"), [(CancelTask("t"), "cancelled"), (PauseTask("t"), "paused")])
async def test_cancel_and_pause_take_back_what_is_on(
    cluster: Cluster, command: CancelTask | PauseTask, reason: str
) -> None:
    node = await cluster.add("a")
    run = await cluster.task()
    await until(status_is(node, run, ACTIVE))
    await cluster.say(command)
    await until(status_is(node, run, INTERRUPTED))
    assert node.run_of(run).reason == reason
    assert node.proxy.faults == {}


async def test_a_node_that_was_given_up_takes_back_and_tells_its_effect(cluster: Cluster) -> None:
    node = await cluster.add("a")
    run = await cluster.task()
    await until(status_is(node, run, ACTIVE))
    node.proxy.touch(f"{run}#0@web", 2)
    await cluster.say(NodeFailed(1, "a", 1))
    await until(lambda: not node.proxy.faults)
    assert node.run_of(run).status is INTERRUPTED
    await until(lambda: node.run_of(run).effects == ({"touched": 2},))
    assert node.run_of(run).reason == "nodeFailed"


async def test_a_restarted_peer_injects_nothing_of_its_earlier_start(cluster: Cluster) -> None:
    await cluster.add("b")
    node = await cluster.add("a")
    run = (await cluster.task())._replace(node="a")
    await until(status_is(node, run, ACTIVE))
    await node.kill()
    cluster.network.kill("a")
    again = await cluster.add("a", 2, register=False)
    again.lease.begin()
    await until(lambda: run in again.state.runs)
    assert not again.executor.clean
    assert again.run_of(run).status is ACTIVE
    journal = UndoJournal(again.folder)  # what the reaper does
    await until(journal.try_lock)
    assert journal.mark_done(str(run), ({"touched": 4},), "reaper")
    journal.unlock()
    journal.close()
    await until(status_is(again, run, INTERRUPTED))
    assert (again.run_of(run).reason, again.run_of(run).effects) == ("peerRestarted", ({"touched": 4},))
    assert again.proxy.injections == []


async def test_what_the_reaper_undid_is_believed(cluster: Cluster) -> None:
    node = await cluster.add("a")
    run = await cluster.task()
    await until(status_is(node, run, ACTIVE))
    journal = UndoJournal(node.folder)
    await until(journal.try_lock)
    journal.raise_epoch()
    journal.mark_done(str(run), ({"touched": 5},), "reaper")
    journal.unlock()
    journal.close()
    await until(status_is(node, run, INTERRUPTED))
    assert node.run_of(run).effects == ({"touched": 5},)
    assert node.proxy.faults == {}


async def test_a_fault_that_cannot_be_put_on_fails_its_run(cluster: Cluster) -> None:
    node = await cluster.add("a")
    node.proxy.answers = False
    run = await cluster.task()
    await until(lambda: node.proxy.refused > 1)
    assert str(run) in node.executor.unfinished()
    node.proxy.answers = True
    await until(status_is(node, run, RunStatus.FAILED))
    assert "does not answer" in node.run_of(run).reason
    assert node.executor.unfinished() == frozenset()


async def test_a_recovery_that_keeps_failing_is_told_and_goes_on(cluster: Cluster) -> None:
    node = await cluster.add("a")
    run = await cluster.task()
    await until(status_is(node, run, ACTIVE))
    node.proxy.answers = False
    await cluster.say(CancelTask("t"))
    await until(lambda: node.proxy.refused > 1)
    assert node.run_of(run).status is RunStatus.RECOVERING
    await until(lambda: "does not answer" in node.agent.active_faults()[0].problem)
    assert node.meter.failures >= 1
    cluster.clock.shift += limits.RECOVERY_GIVE_UP
    node.agent.wake()
    await until(status_is(node, run, RunStatus.RECOVERY_FAILED))
    assert run in node.state.unrecovered
    assert "does not answer" in node.agent.problems()[0]
    node.proxy.answers = True
    await until(lambda: run not in node.state.unrecovered)
    assert node.agent.active_faults() == ()
    assert node.executor.unfinished() == frozenset()


async def test_an_offer_is_taken_by_one_node(cluster: Cluster) -> None:
    nodes = [await cluster.add(name) for name in ("a", "b", "c")]
    run = await cluster.task(mode=CoordinationMode.PEER_TO_PEER)
    await until(status_is(nodes[0], run, ACTIVE))
    taker = nodes[0].run_of(run).node
    assert [node.name for node in nodes if node.proxy.injections] == [taker]


async def test_a_run_refused_for_an_overlapping_target_is_asked_for_again(cluster: Cluster) -> None:
    node = await cluster.add("a")
    first = await cluster.task(seconds=1.0)
    await until(status_is(node, first, ACTIVE))
    second = await cluster.task("u", seconds=1.0)
    await until(lambda: node.run_of(second).asked_ms > 0)
    assert node.run_of(second).status is RunStatus.PLANNED
    await until(status_is(node, second, ACTIVE))
    assert node.run_of(first).status is RunStatus.SUCCEEDED


async def test_without_a_quorum_a_run_ends_in_time_and_is_told_later(cluster: Cluster) -> None:
    node = await cluster.add("a")
    for name in ("b", "c"):
        await cluster.add(name)
    run = (await cluster.task(seconds=600.0))._replace(node="a")
    await until(status_is(node, run, ACTIVE))
    cluster.network.partition(["a"], ["b", "c"])
    cluster.clock.shift += 600.0
    node.agent.wake()
    await until(lambda: not node.proxy.faults)
    assert node.run_of(run).status is ACTIVE
    cluster.network.heal()
    await until(status_is(node, run, RunStatus.SUCCEEDED))


async def test_stopping_takes_back_everything_tells_it_and_starts_nothing(cluster: Cluster) -> None:
    node = await cluster.add("a")
    run = await cluster.task()
    await until(status_is(node, run, ACTIVE))
    assert await node.agent.stop()
    assert node.proxy.faults == {}
    assert (node.run_of(run).status, node.run_of(run).reason) == (INTERRUPTED, "peerRestarted")
    second = await cluster.task("u")
    node.agent.wake()
    await until(lambda: node.run_of(second).status is RunStatus.PLANNED)
    assert len(node.proxy.injections) == 1


async def test_stopping_gives_up_in_time_when_something_stays_on(cluster: Cluster) -> None:
    node = await cluster.add("a")
    run = await cluster.task()
    await until(status_is(node, run, ACTIVE))
    node.proxy.answers = False
    assert not await node.agent.stop(timeout=0.2)
    node.proxy.answers = True

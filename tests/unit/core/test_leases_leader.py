"""The leases as the leader sees them: whom it answers, whom it lets fail, and when a failed node comes back."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from raftchaos import limits
from raftchaos.core.commands import NodeActive, NodeDegraded, NodeFailed
from raftchaos.core.leader_leases import LeaderLeases, Ping, PingVerdict, WaitingPing
from raftchaos.core.state import ClusterState
from raftchaos.model.nodes import Node, NodeStatus
from raftchaos.model.runs import Run, RunId, RunStatus

TERM = 4
FIRST = RunId("task", 1, 0, "n1", 1)


def cluster(*nodes: Node, runs: tuple[Run, ...] = ()) -> ClusterState:
    return ClusterState(nodes={node.name: node for node in nodes}, runs={run.id: run for run in runs}, term=TERM)


def node(name: str = "n1", **changes: Any) -> Node:
    return dataclasses.replace(Node(name, 3, f"dir-{name}", "", ""), **changes)


def failed(index: int) -> ClusterState:
    return cluster(node(status=NodeStatus.FAILED, failed_index=index))


class Leader:
    """A leader's leases with the state that it has applied."""

    def __init__(self, *nodes: Node, elected_at: float = 100.0) -> None:
        self.leases = LeaderLeases(TERM, elected_at)
        self.state = cluster(*(nodes or (node(),)))
        self.leases.observe(elected_at, self.state)
        self.seq = 0

    def ping(self, now: float, **changes: Any) -> PingVerdict:
        self.seq += 1
        told = Ping("n1", 3, "dir-n1", self.seq, applied=0, newest_pong=self.seq - 1)._replace(**changes)
        return self.leases.on_ping(now, told, self.state.nodes.get(told.name))

    def round(self) -> list[int]:
        pings = self.leases.take_waiting()
        return [ping.seq for ping in self.leases.answered(pings, self.state)]

    def due(self, now: float) -> list[Any]:
        return self.leases.due(now, self.state)


def test_a_ping_of_the_registered_incarnation_is_answered_by_the_next_round() -> None:
    leader = Leader()
    assert leader.ping(100.2) is PingVerdict.WAITING
    assert leader.leases.has_waiting
    assert leader.round() == [1]
    assert leader.round() == []


def test_one_round_answers_the_newest_ping_of_each_node() -> None:
    leader = Leader(node("n1"), node("n2"))
    for now in (100.1, 100.6):
        leader.ping(now)
    leader.ping(100.7, name="n2", directory="dir-n2", seq=9)
    assert leader.leases.take_waiting() == [WaitingPing("n1", 3, 2), WaitingPing("n2", 3, 9)]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"name": "stranger"}, PingVerdict.UNKNOWN),
        ({"incarnation": 2}, PingVerdict.FOREIGN),
        ({"incarnation": 4}, PingVerdict.FOREIGN),
        ({"directory": "another"}, PingVerdict.FOREIGN),
    ],
)
def test_pings_count_only_for_what_is_registered(changes: dict[str, Any], verdict: PingVerdict) -> None:
    """Schedule ping_inc: a node that lost its data directory must not keep its old self alive."""
    leader = Leader()
    for half_seconds in range(12):
        assert leader.ping(100.0 + half_seconds / 2, **changes) is verdict
    assert leader.round() == []
    assert leader.due(105.5) == [NodeFailed(TERM, "n1", 3)]


def test_a_node_fails_only_after_its_lease_and_its_time_to_revert() -> None:
    """Schedule margin: counted from the last ping that could be answered, with the drift of both clocks."""
    leader = Leader()
    leader.ping(103.0)
    assert leader.due(102.999 + limits.FAILURE_AFTER) == []
    assert leader.due(103.0 + limits.FAILURE_AFTER + 0.01) == [NodeFailed(TERM, "n1", 3)]
    slow, fast = 1 - limits.CLOCK_DRIFT, 1 + limits.CLOCK_DRIFT
    assert limits.FAILURE_AFTER / fast >= (limits.LEASE + limits.REVERT) / slow


def test_a_new_leader_waits_from_its_election_on() -> None:
    leader = Leader(elected_at=100.0)
    assert leader.due(105.1) == []
    assert leader.due(105.2) == [NodeFailed(TERM, "n1", 3)]


def test_a_node_that_has_just_registered_is_given_time_to_ping() -> None:
    leader = Leader()
    leader.state = cluster(node(incarnation=4))
    assert leader.due(130.0) == []
    assert leader.due(135.0) == []
    assert leader.due(135.2) == [NodeFailed(TERM, "n1", 4)]


def test_a_name_that_another_directory_has_taken_starts_anew() -> None:
    leader = Leader()
    assert leader.due(105.2) == [NodeFailed(TERM, "n1", 3)]
    leader.state = cluster(node(directory="another"))
    assert leader.due(105.3) == []
    assert leader.ping(105.4, directory="another") is PingVerdict.WAITING


def test_once_named_as_failed_a_node_is_not_answered_before_it_knows() -> None:
    """Schedule fence: its NodeFailed is in the log but not committed while the node answers again."""
    leader = Leader()
    assert leader.due(105.2) == [NodeFailed(TERM, "n1", 3)]
    assert leader.ping(105.3) is PingVerdict.FENCED
    assert leader.round() == []
    assert leader.due(105.4) == [NodeFailed(TERM, "n1", 3)]  # until it is applied
    leader.state = failed(index=7)
    assert leader.ping(106.0, applied=6) is PingVerdict.FAILED
    assert leader.due(106.1) == []
    assert leader.ping(106.5, applied=7) is PingVerdict.FAILED
    assert leader.due(106.6) == [NodeActive(TERM, "n1", 3)]
    assert leader.round() == []
    leader.state = cluster(node(failed_index=7))
    assert leader.due(106.7) == []
    assert leader.ping(107.0, applied=8) is PingVerdict.WAITING
    assert leader.round() == [leader.seq]


def test_a_round_that_is_under_way_does_not_answer_a_node_that_failed_meanwhile() -> None:
    leader = Leader()
    leader.ping(100.1)
    pings = leader.leases.take_waiting()
    assert leader.due(105.3) == [NodeFailed(TERM, "n1", 3)]
    assert leader.leases.answered(pings, leader.state) == []
    leader.state = failed(index=7)
    assert leader.leases.answered(pings, leader.state) == []


def test_a_round_does_not_answer_an_incarnation_that_was_replaced() -> None:
    leader = Leader()
    leader.ping(100.1)
    pings = leader.leases.take_waiting()
    leader.state = cluster(node(incarnation=4))
    leader.leases.observe(100.2, leader.state)
    assert leader.leases.answered(pings, leader.state) == []
    assert leader.leases.answered(pings, cluster()) == []


def test_a_new_leader_makes_a_failed_node_active_once_it_knows() -> None:
    leader = Leader()
    leader.state = failed(index=7)
    assert leader.due(120.0) == []
    assert leader.ping(120.1, applied=9) is PingVerdict.FAILED
    assert leader.due(120.2) == [NodeActive(TERM, "n1", 3)]
    leader.state = cluster(node())
    assert leader.due(120.3) == []


def test_a_node_that_takes_no_newer_pong_is_left_to_fail() -> None:
    """Schedule overdue: pings arrive, pongs do not (a one-way loss): its lease has ended, the cluster must go on."""
    leader = Leader()
    now = 100.0
    while now < 106.0:
        assert leader.ping(now, newest_pong=5) is PingVerdict.WAITING
        now += 0.5
    assert leader.ping(106.2, newest_pong=5) is PingVerdict.STALLED
    assert leader.ping(106.7, newest_pong=50) is PingVerdict.STALLED  # too late: it is left to fail
    assert leader.due(105.5 + limits.FAILURE_AFTER - 0.01) == []
    assert leader.due(105.5 + limits.FAILURE_AFTER + 0.01) == [NodeFailed(TERM, "n1", 3)]


def test_a_node_that_takes_pongs_is_never_stalled() -> None:
    leader = Leader()
    for half_seconds in range(100):
        assert leader.ping(100 + half_seconds / 2) is PingVerdict.WAITING
        assert leader.due(100.1 + half_seconds / 2) == []


@pytest.mark.parametrize("status", [RunStatus.GRANTED, RunStatus.ACTIVE])
def test_a_run_that_stands_long_past_its_duration_stops_its_node(status: RunStatus) -> None:
    """Schedule hung: the agent hangs after the grant while main goes on pinging."""
    leader = Leader(node("n1"), node("n2"))
    run = Run(FIRST, status, "n1", incarnation=3, duration_seconds=30)
    leader.state = cluster(node("n1"), node("n2"), runs=(run,))
    leader.leases.observe(100.0, leader.state)
    now = 100.0
    while now <= 150.0:
        assert leader.ping(now) is PingVerdict.WAITING
        leader.ping(now, name="n2", directory="dir-n2")
        assert leader.due(now) == []
        now += 0.5
    assert leader.due(150.1) == []
    assert leader.ping(150.2) is PingVerdict.STALLED
    assert leader.ping(150.2, name="n2", directory="dir-n2") is PingVerdict.WAITING
    assert leader.due(155.2) == [NodeFailed(TERM, "n1", 3)]


def test_a_node_that_does_not_end_a_cancelled_run_is_left_to_fail_long_before_the_run_would_have_ended() -> None:
    leader = Leader()
    run = Run(FIRST, RunStatus.ACTIVE, "n1", incarnation=3, duration_seconds=24 * 3600)
    leader.state = cluster(node(), runs=(run,))
    leader.leases.observe(100.0, leader.state)
    leader.state = cluster(node(), runs=(dataclasses.replace(run, status=RunStatus.RECOVERING),))
    now = 200.0
    while now <= 200 + limits.RUN_OVERDUE:
        assert leader.ping(now) is PingVerdict.WAITING
        assert leader.due(now) == []
        now += 0.5
    leader.due(now)
    assert leader.ping(now) is PingVerdict.STALLED


def test_a_node_that_still_recovers_is_given_the_time_to_give_up() -> None:
    leader = Leader()
    run = Run(FIRST, RunStatus.ACTIVE, "n1", incarnation=3, duration_seconds=30)
    leader.state = cluster(node(), runs=(run,))
    now = 100.0
    while now <= 100 + 30 + limits.RECOVERY_GIVE_UP + limits.RUN_OVERDUE:
        assert leader.ping(now, recovering=[str(FIRST)]) is PingVerdict.WAITING
        assert leader.due(now) == []
        now += 0.5
    leader.due(now)
    assert leader.ping(now, recovering=[str(FIRST)]) is PingVerdict.STALLED


def test_the_time_of_a_run_counts_from_when_this_leader_first_saw_it_live() -> None:
    leader = Leader()
    for status, at in ((RunStatus.GRANTED, 110.0), (RunStatus.ACTIVE, 120.0)):
        leader.state = cluster(node(), runs=(Run(FIRST, status, "n1", duration_seconds=5),))
        leader.ping(at)
        leader.due(at)
    for at in (124.0, 128.0, 132.0):
        leader.ping(at)
    leader.due(134.9)
    assert leader.ping(134.9) is PingVerdict.WAITING
    leader.due(135.1)
    assert leader.ping(135.2) is PingVerdict.STALLED


def test_an_ended_run_stops_nobody() -> None:
    leader = Leader()
    leader.state = cluster(node(), runs=(Run(FIRST, RunStatus.ACTIVE, "n1", duration_seconds=5),))
    leader.due(100.0)
    leader.state = cluster(node(), runs=(Run(FIRST, RunStatus.SUCCEEDED, "n1", duration_seconds=5),))
    leader.ping(104.0)
    leader.due(105.0)
    assert leader.ping(200.0) is PingVerdict.WAITING
    assert leader.due(200.0) == []


def test_health_becomes_a_command_when_it_changes_and_not_faster_than_it_settles() -> None:
    leader = Leader()
    leader.ping(100.5, unwell=["loop late", "disk full", "loop late"])
    assert leader.due(100.6) == [NodeDegraded(TERM, "n1", 3, ["disk full", "loop late"])]
    assert leader.due(100.7) == []
    leader.state = cluster(node(status=NodeStatus.DEGRADED, reasons=("disk full", "loop late")))
    assert leader.ping(101.0) is PingVerdict.WAITING  # degraded nodes keep their lease
    assert leader.due(101.1) == []
    assert leader.due(102.7) == [NodeDegraded(TERM, "n1", 3, [])]


def test_a_long_reason_is_compared_as_the_state_keeps_it() -> None:
    leader = Leader()
    leader.ping(101.0, unwell=["é" * 200])
    (command,) = leader.due(101.1)
    leader.state = cluster(node(status=NodeStatus.DEGRADED, reasons=tuple(command.reasons)))
    leader.ping(104.0, unwell=["é" * 200])
    assert leader.due(104.1) == []


def test_a_leader_that_has_not_heard_a_node_says_nothing_of_its_health() -> None:
    leader = Leader(node(status=NodeStatus.DEGRADED, reasons=("disk full",)))
    assert leader.due(101.0) == []


def test_a_degraded_node_fails_like_any_other() -> None:
    leader = Leader(node(status=NodeStatus.DEGRADED, reasons=("disk full",)))
    assert leader.due(105.2) == [NodeFailed(TERM, "n1", 3)]


def test_silences_count_from_the_last_ping_that_could_be_answered() -> None:
    leader = Leader(node("n1"), node("n2"))
    leader.ping(102.0)
    assert leader.leases.silences(103.0) == {"n1": 1.0, "n2": 3.0}


def test_a_removed_node_is_forgotten() -> None:
    leader = Leader()
    leader.state = cluster()
    assert leader.due(200.0) == []
    assert leader.leases.silences(200.0) == {}

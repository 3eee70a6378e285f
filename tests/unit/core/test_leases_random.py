"""Random schedules over both sides of the lease; and proof that the schedules find what each rule is for."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from raftchaos import limits
from raftchaos.core.leader_leases import LeaderLeases, WaitingPing
from raftchaos.core.node_lease import NodeLease
from raftchaos.core.state import ClusterState
from tests.unit.core.lease_world import Broken, troubled

SEEDS = range(40)


def test_no_schedule_fails_a_node_before_its_lease_and_its_reversion_are_over() -> None:
    worlds = [troubled(seed) for seed in SEEDS]
    assert sum(world.failures for world in worlds) > len(SEEDS) / 4  # the schedules do something
    assert sum(world.lapses for world in worlds) > len(SEEDS) / 4
    assert sum(world.renewals for world in worlds) > 20 * len(SEEDS)


class Unfenced(LeaderLeases):
    """Answers every ping that a round has confirmed."""

    def answered(self, pings: Iterable[WaitingPing], state: ClusterState) -> list[WaitingPing]:
        return list(pings)

    def on_ping(self, now, ping, node):  # type: ignore[no-untyped-def]
        verdict = super().on_ping(now, ping, node)
        if node is not None and node.incarnation == ping.incarnation:
            self._watches[node.name].waiting = ping.seq
        return verdict


class Renewing(NodeLease):
    """Counts a lease from when the pong arrives, not from when the ping was sent."""

    def on_pong(self, seq, commit_index, now):  # type: ignore[no-untyped-def]
        if seq in self._sent:
            self._sent[seq] = now
        return super().on_pong(seq, commit_index, now)


class Unelected(LeaderLeases):
    """A new leader that does not wait out what the old one may have answered."""

    def __init__(self, term: int, elected_at: float) -> None:
        super().__init__(term, elected_at - limits.FAILURE_AFTER)

    def _watch(self, now, node):  # type: ignore[no-untyped-def]
        fresh = node.name not in self._watches
        watch = super()._watch(now, node)
        if fresh:
            watch.answerable = self._elected_at
        return watch


def finds(**classes: type) -> bool:
    for seed in range(100):
        try:
            troubled(seed, **classes)
        except Broken:
            return True
    return False


@pytest.mark.parametrize(
    "classes", [{"leases_class": Unfenced}, {"leases_class": Unelected}, {"node_lease_class": Renewing}]
)
def test_the_schedules_find_a_lease_without_its_rule(classes: dict[str, type]) -> None:
    assert finds(**classes)


def test_the_schedules_find_a_leader_in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FAILURE_AFTER", limits.LEASE + limits.REVERT - 1)
    assert finds()

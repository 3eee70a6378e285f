"""The lease as the node sees it: when it runs, what renews it, and that an ended one is never taken up again."""

from __future__ import annotations

import pytest

from raftchaos import limits
from raftchaos.core.node_lease import UNCHANGED, LeaseChange, NodeLease

L = limits.LEASE


def renewed_at(lease: NodeLease, sent: float, arrives: float, commit_index: int = 0) -> LeaseChange:
    return lease.on_pong(lease.ping(sent), commit_index, arrives)


def test_there_is_no_lease_before_the_first_pong() -> None:
    lease = NodeLease()
    assert not lease.running(100.0)
    assert lease.epoch == 0
    assert lease.check(100.0) == UNCHANGED


def test_a_pong_lets_it_end_one_lease_after_its_ping_was_sent() -> None:
    lease = NodeLease()
    assert renewed_at(lease, 100.0, 100.4) == LeaseChange(renewed=True)
    assert (lease.end, lease.epoch) == (100.0 + L, 1)
    assert lease.running(100.0 + L - 0.001)
    assert not lease.running(100.0 + L)


def test_renewals_keep_the_epoch_and_move_the_end() -> None:
    lease = NodeLease()
    for step in range(20):
        assert renewed_at(lease, 100 + 0.5 * step, 100.1 + 0.5 * step).renewed
    assert (lease.end, lease.epoch) == (109.5 + L, 1)


def test_the_pong_of_an_older_ping_never_moves_the_end_back() -> None:
    lease = NodeLease()
    first, second = lease.ping(100.0), lease.ping(100.5)
    assert lease.on_pong(second, 0, 100.6).renewed
    assert lease.on_pong(first, 0, 100.7) == UNCHANGED
    assert lease.end == 100.5 + L


def test_a_pong_of_any_own_ping_counts_on_a_slow_link() -> None:
    """Schedule any_pong: with a round trip longer than the ping interval, the newest ping is never the answered one."""
    lease = NodeLease()
    round_trip = 0.55
    pings = [(100 + limits.PING_INTERVAL * step, lease.ping(100 + limits.PING_INTERVAL * step)) for step in range(3)]
    for step in range(3, 60):
        sent, seq = pings[step - 3]
        assert lease.on_pong(seq, 0, sent + round_trip).renewed
        now = 100 + limits.PING_INTERVAL * step
        pings.append((now, lease.ping(now)))
        assert lease.running(sent + round_trip)
    assert lease.epoch == 1


def test_unknown_and_forgotten_pings_renew_nothing() -> None:
    lease = NodeLease()
    assert lease.on_pong(7, 0, 100.0) == UNCHANGED
    old = lease.ping(100.0)
    for _ in range(limits.PINGS_REMEMBERED):
        lease.ping(100.0)
    assert lease.on_pong(old, 0, 100.1) == UNCHANGED
    assert lease.newest_pong == 0


def test_a_pong_waits_until_its_commit_index_is_applied() -> None:
    """Schedule lease_apply: a node that stopped applying does not see a halt, and must not go on."""
    lease = NodeLease()
    assert renewed_at(lease, 100.0, 100.1, commit_index=8) == UNCHANGED
    assert lease.newest_pong == 1
    assert lease.on_applied(7, 100.2) == UNCHANGED
    assert not lease.running(100.2)
    assert lease.on_applied(8, 100.3) == LeaseChange(renewed=True)
    assert lease.end == 100.0 + L


def test_of_the_pongs_that_wait_the_applied_ones_take_effect() -> None:
    lease = NodeLease()
    for commit_index, sent in ((3, 100.0), (4, 100.5), (9, 101.0)):
        renewed_at(lease, sent, sent + 0.1, commit_index)
    assert lease.on_applied(5, 101.2).renewed
    assert lease.end == 100.5 + L
    assert lease.on_applied(9, 101.3).renewed
    assert lease.end == 101.0 + L


def test_the_pongs_that_wait_are_bounded() -> None:
    lease = NodeLease()
    for commit_index in range(1, limits.PONGS_PENDING + 2):
        renewed_at(lease, 100.0 + commit_index / 10, 100.0 + commit_index / 10, commit_index)
    assert not lease.on_applied(1, 101.5).renewed  # the first had to go
    assert lease.on_applied(2, 101.5).renewed


def test_its_end_is_told_once() -> None:
    lease = NodeLease()
    renewed_at(lease, 100.0, 100.1)
    assert lease.check(100.0 + L - 0.01) == UNCHANGED
    assert lease.check(100.0 + L) == LeaseChange(lapsed=1)
    assert lease.check(100.0 + L + 1) == UNCHANGED


@pytest.mark.parametrize("late", [0.001, 1.0])
def test_a_lease_that_ended_is_not_extended(late: float) -> None:
    """Schedule no_revive: the pong arrives just after the end; a new lease begins with none of the old grants."""
    lease = NodeLease()
    renewed_at(lease, 100.0, 100.1)
    seq = lease.ping(102.5)
    now = 100.0 + L + late
    assert lease.on_pong(seq, 0, now) == LeaseChange(renewed=True, lapsed=1)
    assert (lease.end, lease.epoch) == (102.5 + L, 2)
    assert lease.running(now)


def test_an_end_that_was_told_is_not_told_again_by_the_next_pong() -> None:
    lease = NodeLease()
    renewed_at(lease, 100.0, 100.1)
    assert lease.check(104.0).lapsed == 1
    assert renewed_at(lease, 104.0, 104.1) == LeaseChange(renewed=True)
    assert lease.epoch == 2


def test_a_pong_that_comes_too_late_gives_no_lease() -> None:
    lease = NodeLease()
    renewed_at(lease, 100.0, 100.1)
    assert renewed_at(lease, 100.5, 100.5 + L) == LeaseChange(lapsed=1)
    assert (lease.epoch, lease.running(100.5 + L)) == (1, False)


def test_applying_late_tells_that_the_lease_has_lapsed() -> None:
    lease = NodeLease()
    renewed_at(lease, 100.0, 100.1)
    assert lease.on_applied(5, 110.0) == LeaseChange(lapsed=1)

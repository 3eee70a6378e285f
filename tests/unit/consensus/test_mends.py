"""Each fault of PySyncObj that is mended, on one peer whose other members are the test: log, terms, votes."""

from __future__ import annotations

import pytest
from consensus_by_hand import A, C, agreed, elect, following, leading, only, reject, vote
from consensus_virtual import VirtualClock, append, command, one_raft, tell

from raftchaos.consensus.replication import Contradiction
from raftchaos.consensus.seams import CANDIDATE, FOLLOWER, LEADER

# ---- truncation


def test_an_append_that_matches_truncates_nothing(clock: VirtualClock) -> None:
    raft, _, _ = following(entries=5)
    reply = only(tell(raft, "a", append(1, 2, 0, [(command("a:0"), 3, 1)])), "append_reply")
    assert reply["success"]
    assert reply["next"] == 4  # it verified entry 3 only ...
    assert raft.log.last_index == 7  # ... and the rest stays
    assert raft.counts["truncated"] == 0


def test_only_the_conflict_and_what_follows_is_deleted(clock: VirtualClock) -> None:
    raft, _, _ = following(entries=5)
    tell(raft, "c", append(2, 4, 1, [(command("c:0"), 5, 2)]))
    assert [(entry[1], entry[2]) for entry in raft.log.entries] == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)]
    assert raft.counts["truncated"] == 3


def test_a_leader_that_contradicts_a_committed_entry_stops_the_replica(clock: VirtualClock) -> None:
    raft, transport, _ = following(entries=3)
    tell(raft, "a", append(1, 5, 1, commit=5))
    with pytest.raises(Contradiction):
        transport._onMessageReceived(C, append(2, 3, 1, [(command("c"), 4, 2)]))


# ---- commitment


def test_a_follower_commits_only_what_this_message_verified(clock: VirtualClock) -> None:
    raft, _, owner = following(entries=5)
    tell(raft, "c", append(2, 3, 1, commit=7))  # entries 4 to 7 of this peer may be others than the leader's
    assert raft.commit_index == 3
    assert [index for index, _ in owner.applied] == [2, 3]


def test_a_leader_commits_only_with_an_entry_of_its_own_term(clock: VirtualClock) -> None:
    raft, transport, _ = following(entries=2)
    raft.lost_leader = False
    elect(raft, transport, clock)
    tell(raft, "a", agreed(raft, 4))  # a majority has the old entries
    assert raft.commit_index == 1
    tell(raft, "a", agreed(raft, raft.noop_index, prev=4))
    assert raft.commit_index == raft.noop_index


def test_a_leader_counts_itself_only_up_to_what_is_written(clock: VirtualClock) -> None:
    raft, _, _ = leading(clock)
    written = raft.log.last_index
    raft.log.flush = lambda: None  # type: ignore[method-assign]
    raft.append(command("b:1"))
    raft.doTick(0)
    tell(raft, "a", agreed(raft, written + 1, prev=written))
    assert raft.commit_index == written
    del raft.log.flush
    raft.doTick(0)
    raft.doTick(0)
    assert raft.commit_index == written + 1


def test_a_promise_leaves_only_after_the_log_is_written(clock: VirtualClock) -> None:
    raft, transport, _ = one_raft()
    transport._onMessageReceived(A, append(1, 2, 0, [(command("a:0"), 3, 1)]))
    assert transport.take() == []
    assert raft.log.stable == 2
    raft.doTick(0)
    assert only(transport.take(), "append_reply")["next"] == 4
    assert raft.log.stable == 3


# ---- terms and votes


def test_every_answer_carries_the_term_and_an_old_leader_is_told(clock: VirtualClock) -> None:
    raft, _, _ = following(term=5)
    assert only(tell(raft, "a", append(5, 5, 5)), "append_reply")["term"] == 5
    for old in (append(3, 2, 0), {"type": "heartbeat", "term": 3, "round": 9}):
        (reply,) = [message for _, message in tell(raft, "c", old)]
        assert reply["term"] == 5
    assert raft.leader == A


def test_a_leader_steps_down_before_a_newer_term(clock: VirtualClock) -> None:
    raft, _, _ = leading(clock)
    tell(raft, "c", {"type": "heartbeat_reply", "term": raft.term + 3, "round": 0})
    assert (raft.role, raft.term) == (FOLLOWER, 4)
    assert raft.election_at > clock.now  # and does not stand again at once


def test_an_answer_of_an_old_term_says_nothing(clock: VirtualClock) -> None:
    raft, _, _ = leading(clock)
    last = raft.log.last_index
    raft.append(command("b:1"))
    raft.doTick(0)
    tell(raft, "a", {**agreed(raft, last + 1), "term": raft.term - 1})
    assert raft.commit_index == last


def test_votes_count_by_name(clock: VirtualClock) -> None:
    raft, transport, _ = one_raft(names=("a", "b", "c", "d", "e"))
    clock.now = raft.election_at + 0.001
    raft.doTick(0)
    question = transport.take()[0][1]
    for name in ("a", "c"):
        tell(raft, name, {"type": "pre_vote_reply", "term": 0, "round": question["round"], "granted": True})
    for _ in range(3):
        tell(raft, "a", {"type": "vote_reply", "term": 1, "granted": True})
    tell(raft, "stranger", {"type": "vote_reply", "term": 1, "granted": True})
    assert raft.role == CANDIDATE
    tell(raft, "c", {"type": "vote_reply", "term": 1, "granted": True})
    assert raft.role == LEADER


def test_one_vote_a_term_and_only_for_a_log_as_long(clock: VirtualClock) -> None:
    raft, _, _ = one_raft()
    assert not only(tell(raft, "a", vote(1, raft, last_index=1)), "vote_reply")["granted"]
    assert only(tell(raft, "a", vote(1, raft)), "vote_reply")["granted"]
    assert only(tell(raft, "a", vote(1, raft)), "vote_reply")["granted"]  # the same one may ask again
    assert not only(tell(raft, "c", vote(1, raft)), "vote_reply")["granted"]
    assert (raft.log.term, raft.log.vote) == (1, "a")


def test_term_and_vote_are_stored_before_they_are_used(clock: VirtualClock) -> None:
    raft, transport, _ = one_raft()

    def full(term: int, vote: str | None) -> None:
        raise OSError("no space left")

    raft.log.setCurrentTerm = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no space"):
        transport._onMessageReceived(A, vote(1, raft))
    assert (raft.term, raft.vote) == (0, None)
    assert transport.take() == []


# ---- pre-vote and stickiness


def test_a_peer_asks_before_it_raises_the_term(clock: VirtualClock) -> None:
    raft, transport, _ = one_raft()
    clock.now = raft.election_at + 0.001
    raft.doTick(0)
    assert {message["type"] for _, message in transport.take()} == {"pre_vote"}
    tell(raft, "a", {"type": "pre_vote_reply", "term": 0, "round": 1, "granted": False})
    assert (raft.role, raft.term) == (FOLLOWER, 0)


def test_a_peer_that_reaches_no_majority_does_not_even_ask(clock: VirtualClock) -> None:
    raft, transport, _ = one_raft()
    for node in raft.others:
        transport._onNodeDisconnected(node)
    clock.now = raft.election_at + 0.001
    raft.doTick(0)
    assert (transport.take(), raft.term) == ([], 0)


def test_whoever_hears_a_leader_wants_no_other(clock: VirtualClock) -> None:
    raft, _, _ = following()
    question = {"type": "pre_vote", "term": 9, "last_term": 9, "last_index": 99, "round": 1}
    assert not only(tell(raft, "c", question), "pre_vote_reply")["granted"]
    assert not only(tell(raft, "c", vote(9, raft, last_term=9)), "vote_reply")["granted"]
    assert raft.term == 1
    clock.now += raft.timings.election_min + 0.001
    assert only(tell(raft, "c", question), "pre_vote_reply")["granted"]
    assert raft.term == 1
    assert only(tell(raft, "c", vote(9, raft, last_term=9)), "vote_reply")["granted"]


def test_a_leader_that_hands_over_is_left_at_once(clock: VirtualClock) -> None:
    raft, _, _ = following()
    assert only(tell(raft, "c", vote(2, raft, handed_over=True)), "vote_reply")["granted"]


def test_only_the_leader_can_make_a_peer_stand(clock: VirtualClock) -> None:
    raft, _, _ = following()
    tell(raft, "c", {"type": "timeout_now", "term": 1})
    assert raft.role == FOLLOWER
    request = only([each for each in tell(raft, "a", {"type": "timeout_now", "term": 1}) if each[0] == "c"], "vote")
    assert request["handed_over"]
    assert (raft.role, raft.term) == (CANDIDATE, 2)


def test_a_leader_nobody_answers_steps_down(clock: VirtualClock) -> None:
    raft, _, _ = leading(clock)
    clock.now += raft.timings.fallback * 0.9
    raft.doTick(0)
    assert raft.role == LEADER
    clock.now += raft.timings.fallback * 0.2
    raft.doTick(0)
    assert (raft.role, raft.leader) == (FOLLOWER, None)


def test_a_leader_whose_connection_broke_is_replaced_in_turn(clock: VirtualClock) -> None:
    raft, transport, _ = following()
    transport._onNodeDisconnected(A)
    step = raft.timings.failover_step
    assert clock.now <= raft.election_at <= clock.now + raft.timings.failover_jitter  # b is the first of b, c
    late, late_transport, _ = one_raft(name="c")
    tell(late, "a", append(1, 2, 0))
    late_transport._onNodeDisconnected(A)
    assert clock.now + step <= late.election_at <= clock.now + step + late.timings.failover_jitter


# ---- walking back


def test_a_rejection_says_where_the_conflicting_term_begins(clock: VirtualClock) -> None:
    raft, _, _ = following(entries=100)
    reply = only(tell(raft, "c", append(3, 90, 2)), "append_reply")
    assert (reply["success"], reply["conflict"], reply["next"]) == (False, 1, 3)


def test_a_rejection_never_points_below_what_is_committed(clock: VirtualClock) -> None:
    raft, _, _ = following(entries=100)
    tell(raft, "a", append(1, 50, 1, commit=50))
    assert only(tell(raft, "c", append(3, 90, 2)), "append_reply")["next"] == 51


def test_a_log_that_is_too_short_says_so(clock: VirtualClock) -> None:
    raft, _, _ = following(entries=3)
    assert only(tell(raft, "a", append(1, 90, 1)), "append_reply")["next"] == 6


def test_the_leader_skips_a_whole_term_at_once(clock: VirtualClock) -> None:
    raft, transport, _ = following(entries=1_000)
    raft.lost_leader = False
    elect(raft, transport, clock)
    sent = only(
        [each for each in tell(raft, "c", reject(raft, prev=1_002, at=3, conflict=0)) if each[0] == "c"], "append"
    )
    assert sent["prev"] == 2
    assert len(sent["entries"]) == 1_001
    assert raft.counts["rejects"] == 1


def test_a_follower_that_is_back_has_to_confirm_anew(clock: VirtualClock) -> None:
    """With durability *process* a power cut takes entries that it had confirmed: they are sent again by the same
    leader, which would otherwise believe that it has them."""
    raft, transport, _ = leading(clock)
    for i in range(3):
        raft.append(command(f"b:{i}"))
    raft.doTick(0)
    tell(raft, "a", agreed(raft, raft.log.last_index, prev=raft.log.last_index))
    raft.doTick(0)
    transport.take()
    raft.connected(A)
    probe = next(message for name, message in transport.take() if name == "a" and message["type"] == "append")
    sent = tell(raft, "a", reject(raft, prev=probe["prev"], at=3, conflict=0))
    again = next(message for name, message in sent if name == "a" and message["type"] == "append")
    assert again["prev"] == 2
    tell(raft, "a", agreed(raft, 3, prev=2))
    assert raft.match_index[A] == 3

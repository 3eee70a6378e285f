"""Each fault of PySyncObj that is mended, on one peer whose other members are the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from consensus_virtual import VirtualClock, append, command, founded, one_raft, tell, virtual_time

from raftchaos.consensus.entries import NOOP, encode_members
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.raft import Raft
from raftchaos.consensus.replication import Contradiction
from raftchaos.consensus.seams import CANDIDATE, FOLLOWER, LEADER
from raftchaos.consensus.snapshot import Key, Snapshot
from raftchaos.errors import Refused

A, C = PeerNode("a", "a:1"), PeerNode("c", "c:1")


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with virtual_time() as made:
        yield made


def following(entries: int = 3, term: int = 1) -> tuple[Raft, Any, Any]:
    """Follows `a` in this term and has its first entries, up to index 2 + entries."""
    raft, transport, owner = one_raft()
    tell(raft, "a", append(term, 2, 0, [(command(f"a:{i}"), 3 + i, term) for i in range(entries)]))
    return raft, transport, owner


def leading(clock: VirtualClock, names: tuple[str, ...] = ("a", "b", "c"), **options: Any) -> tuple[Raft, Any, Any]:
    """`b` leads in term 1 and everyone has its first entry."""
    raft, transport, owner = one_raft(names=names, **options)
    elect(raft, transport, clock)
    for name in sorted(set(names) - {"b"}):
        tell(raft, name, agreed(raft, raft.log.last_index))
    transport.take()
    assert raft.leader_ready
    return raft, transport, owner


def elect(raft: Raft, transport: Any, clock: VirtualClock) -> None:
    clock.now = raft.election_at + 0.001
    raft.doTick(0)
    (_, question) = transport.take()[0]
    tell(raft, "a", {"type": "pre_vote_reply", "term": raft.term, "round": question["round"], "granted": True})
    assert raft.role == CANDIDATE
    tell(raft, "a", {"type": "vote_reply", "term": raft.term, "granted": True})
    assert raft.role == LEADER


def agreed(raft: Raft, index: int, prev: int = 2) -> dict[str, Any]:
    return {
        "type": "append_reply",
        "term": raft.term,
        "success": True,
        "next": index + 1,
        "conflict": 0,
        "prev": prev,
        "round": raft.round,
    }


def only(sent: list[tuple[str, dict[str, Any]]], kind: str) -> dict[str, Any]:
    (message,) = [message for _, message in sent if message["type"] == kind]
    return message


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


def vote(term: int, raft: Raft, **more: Any) -> dict[str, Any]:
    last = raft.log.entries[-1]
    return {"type": "vote", "term": term, "last_term": last[2], "last_index": last[1], "handed_over": False, **more}


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


def reject(raft: Raft, *, prev: int, at: int, conflict: int) -> dict[str, Any]:
    reply = {"type": "append_reply", "term": raft.term, "success": False, "next": at, "prev": prev, "round": 0}
    return {**reply, "conflict": conflict}


# ---- snapshots


def test_a_chunk_never_moves_the_commit_index(clock: VirtualClock) -> None:
    raft, transport, owner = following(entries=5)
    data = Snapshot(Key(100, 1), {"a": "a:1", "b": "b:1"}, 2, b"one\ntwo").encode()
    chunk = {"type": "chunk", "term": 1, "key": (100, 1), "offset": 0, "data": data[:50], "last": False, "round": 0}
    assert only(tell(raft, "a", chunk), "chunk_reply")["want"] == 50
    assert raft.commit_index == 1
    assert owner.applied == []
    rest = {**chunk, "offset": 50, "data": data[50:], "last": True}
    assert only(tell(raft, "a", rest), "chunk_reply")["want"] == -1
    assert (raft.commit_index, raft.applied_index, raft.log.last_index) == (100, 100, 100)
    assert owner.state == ["one", "two"]
    assert raft.voters == {"a", "b"}
    assert set(transport.nodes) == {"a"}


def test_a_damaged_snapshot_is_asked_for_again(clock: VirtualClock) -> None:
    raft, _, owner = following(entries=5)
    data = bytearray(Snapshot(Key(100, 1), {"a": "a:1", "b": "b:1"}, 2, b"one").encode())
    data[-1] ^= 1
    chunk = {"type": "chunk", "term": 1, "key": (100, 1), "offset": 0, "data": bytes(data), "last": True, "round": 0}
    assert only(tell(raft, "a", chunk), "chunk_reply")["want"] == 0
    assert (raft.commit_index, owner.state) == (1, [])


def test_a_snapshot_inside_the_log_keeps_what_follows(clock: VirtualClock) -> None:
    raft, _, _ = following(entries=50)
    data = Snapshot(Key(20, 1), {"a": "a:1", "b": "b:1", "c": "c:1"}, 2, b"x").encode()
    tell(raft, "a", {"type": "chunk", "term": 1, "key": (20, 1), "offset": 0, "data": data, "last": True, "round": 0})
    assert (raft.applied_index, raft.log.last_index) == (20, 52)


def test_a_lagging_follower_is_sent_the_snapshot_in_acknowledged_chunks(clock: VirtualClock) -> None:
    raft, transport, owner = leading(clock, entries_before_snapshot=20)
    for i in range(60):
        raft.append(command(f"b:{i}", size=20_000))
        raft.doTick(0)
        tell(raft, "a", agreed(raft, raft.log.last_index, prev=3))
    owner.state = ["x" * 600_000]
    raft.take_snapshot()
    assert raft.log.first_index > 20
    transport.take()
    sent = tell(raft, "c", reject(raft, prev=raft.next_index[C] - 1, at=4, conflict=0))
    chunk = only(sent, "chunk")
    count = 1
    while not chunk["last"]:
        assert len(chunk["data"]) == 256 * 1024
        assert not [message for _, message in transport.take() if message["type"] == "chunk"]
        want = {"type": "chunk_reply", "term": raft.term, "key": chunk["key"], "round": 0}
        chunk = only(tell(raft, "c", {**want, "want": chunk["offset"] + len(chunk["data"])}), "chunk")
        count += 1
    assert count == 3
    sent = tell(raft, "c", {**want, "want": -1})
    assert only([each for each in sent if each[0] == "c"], "append")["prev"] == chunk["key"][0]


# ---- membership


def test_one_membership_change_at_a_time(clock: VirtualClock) -> None:
    raft, _, _ = leading(clock)
    index = raft.change_members({**raft.members, "d": "d:1"})
    assert raft.voters == {"a", "b", "c", "d"}
    with pytest.raises(Refused):
        raft.change_members({**raft.members, "e": "e:1"})
    raft.doTick(0)
    tell(raft, "a", agreed(raft, index, prev=3))
    assert raft.commit_index < index  # two of four are no majority
    tell(raft, "c", agreed(raft, index, prev=3))
    assert raft.commit_index == index
    with pytest.raises(Refused):
        raft.change_members({"a": "a:1", "b": "b:1"})  # two at once
    raft.change_members({name: address for name, address in raft.members.items() if name != "c"})


def test_no_change_before_an_entry_of_the_own_term_is_committed(clock: VirtualClock) -> None:
    raft, transport, _ = one_raft()
    elect(raft, transport, clock)
    with pytest.raises(Refused):
        raft.change_members({**raft.members, "d": "d:1"})


def test_a_truncated_change_is_taken_back(clock: VirtualClock) -> None:
    raft, transport, _ = following(entries=1)
    members = {"a": "a:1", "b": "b:1", "c": "c:1", "d": "d:1"}
    tell(raft, "a", append(1, 3, 1, [(encode_members(members), 4, 1)]))
    assert raft.voters == {"a", "b", "c", "d"}
    assert set(transport.nodes) == {"a", "c", "d"}
    tell(raft, "c", append(2, 3, 1, [(NOOP, 4, 2)]))
    assert raft.voters == {"a", "b", "c"}
    assert set(transport.nodes) == {"a", "c"}


def test_a_restart_enacts_uncommitted_changes_again(clock: VirtualClock) -> None:
    log = founded("a", "b", "c")
    log.add(encode_members({"a": "a:1", "b": "b:1"}), 3, 0)
    log.flush()
    raft, _, _ = one_raft(log=log)
    assert (raft.voters, raft.configuration_index, raft.commit_index) == ({"a", "b"}, 3, 1)


def test_a_joiner_does_not_stand_before_it_is_a_member(clock: VirtualClock) -> None:
    log = founded()
    log.entries, log.hints = log.entries[:1], {"a": "a:1", "b": "b:1"}
    raft, transport, _ = one_raft(log=log)
    clock.now = raft.election_at + 0.001
    raft.doTick(0)
    assert (transport.take(), raft.role, raft.is_voter) == ([], FOLLOWER, False)
    assert set(transport.nodes) == {"a"}
    tell(raft, "a", append(1, 1, 0, [(encode_members({"a": "a:1"}), 2, 0)]))
    assert not raft.is_voter
    tell(raft, "a", append(1, 2, 0, [(encode_members({"a": "a:1", "b": "b:1"}), 3, 1)]))
    assert raft.is_voter


def test_a_removed_peer_is_told_and_stops_campaigning(clock: VirtualClock) -> None:
    raft, transport, _ = following(entries=1)
    tell(raft, "a", append(1, 3, 1, [(encode_members({"a": "a:1", "c": "c:1"}), 4, 1)]))
    assert not raft.removed
    tell(raft, "a", append(1, 4, 1, commit=4))
    assert raft.removed
    clock.now = raft.election_at + 0.001
    raft.doTick(0)
    assert (transport.take(), raft.role) == ([], FOLLOWER)


def test_the_leader_tells_a_removed_peer_and_then_lets_go(clock: VirtualClock) -> None:
    raft, transport, _ = leading(clock)
    index = raft.change_members({"a": "a:1", "b": "b:1"})
    raft.doTick(0)
    assert only([each for each in transport.take() if each[0] == "c"], "append")["entries"][0][1] == index
    tell(raft, "a", agreed(raft, index, prev=3))
    assert raft.commit_index == index
    assert "c" in transport.nodes
    tell(raft, "c", agreed(raft, index, prev=3))
    clock.now += 4 * raft.timings.append_period
    raft.doTick(0)
    assert set(transport.nodes) == {"a"}
    assert raft.receivers() == [A]


def test_a_name_that_is_given_again_starts_from_nothing(clock: VirtualClock) -> None:
    raft, transport, _ = leading(clock)
    index = raft.change_members({"a": "a:1", "b": "b:1"})
    raft.doTick(0)
    for name in ("a", "c"):
        tell(raft, name, agreed(raft, index, prev=3))
    assert raft.extras["c"].kind == "departing"
    node = raft.add_learner("c", "c:2", clock.now + 5)
    assert raft.match_index[node] == 0  # the new c has nothing of what the old one had
    assert transport.nodes["c"].address == "c:2"


def test_a_learner_has_no_vote_until_it_is_a_member(clock: VirtualClock) -> None:
    raft, transport, _ = leading(clock)
    node = raft.add_learner("d", "d:1", clock.now + 5)
    transport._onNodeConnected(node)
    last = raft.log.last_index
    raft.append(command("b:1"))
    raft.doTick(0)
    tell(raft, "d", agreed(raft, last + 1, prev=last))
    assert raft.commit_index == last
    assert raft.match_index[node] == last + 1
    clock.now += 6
    raft.answered_at.update({A: clock.now, C: clock.now})
    raft.doTick(0)
    assert "d" not in transport.nodes


# ---- reads


def test_only_answers_to_a_later_message_confirm_leadership(clock: VirtualClock) -> None:
    raft, transport, _ = leading(clock)
    answers: list[int | None] = []
    raft.confirm(answers.append)
    tell(raft, "a", {"type": "heartbeat_reply", "term": raft.term, "round": raft.round})
    assert answers == []  # that round began before
    assert raft.round == 1
    transport.take()
    tell(raft, "a", {"type": "heartbeat_reply", "term": raft.term - 1, "round": 1})
    assert answers == []
    tell(raft, "a", {"type": "heartbeat_reply", "term": raft.term, "round": 1})
    assert answers == [raft.commit_index]


def test_callers_share_a_round_and_a_deposed_leader_confirms_nobody(clock: VirtualClock) -> None:
    raft, _, _ = leading(clock)
    answers: list[int | None] = []
    for _ in range(5):
        raft.confirm(answers.append)
    raft.doTick(0)
    assert raft.round == 1
    tell(raft, "a", {"type": "heartbeat_reply", "term": raft.term + 1, "round": 1})
    assert answers == [None] * 5


def test_a_leader_confirms_nothing_before_it_has_committed_in_its_term(clock: VirtualClock) -> None:
    raft, transport, _ = one_raft()
    elect(raft, transport, clock)
    answers: list[int | None] = []
    raft.confirm(answers.append)
    raft.doTick(0)
    tell(raft, "a", {"type": "heartbeat_reply", "term": 1, "round": 1})
    assert answers == []
    tell(raft, "a", agreed(raft, raft.noop_index))
    assert answers == [raft.noop_index]

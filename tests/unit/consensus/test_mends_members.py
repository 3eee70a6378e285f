"""Each fault of PySyncObj that is mended, on one peer whose other members are the test: snapshots, members, reads."""

from __future__ import annotations

import pytest
from consensus_by_hand import A, C, agreed, elect, following, leading, only, reject
from consensus_virtual import VirtualClock, append, command, founded, one_raft, tell

from raftchaos.consensus.entries import NOOP, Configuration, encode_configuration
from raftchaos.consensus.seams import FOLLOWER
from raftchaos.consensus.snapshot import Key, Snapshot
from raftchaos.errors import Refused

# ---- snapshots


def test_a_chunk_never_moves_the_commit_index(clock: VirtualClock) -> None:
    raft, transport, owner = following(entries=5)
    data = Snapshot(Key(100, 1), Configuration({"a": "a:1", "b": "b:1"}), 2, b"one\ntwo").encode()
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
    data = bytearray(Snapshot(Key(100, 1), Configuration({"a": "a:1", "b": "b:1"}), 2, b"one").encode())
    data[-1] ^= 1
    chunk = {"type": "chunk", "term": 1, "key": (100, 1), "offset": 0, "data": bytes(data), "last": True, "round": 0}
    assert only(tell(raft, "a", chunk), "chunk_reply")["want"] == 0
    assert (raft.commit_index, owner.state) == (1, [])


def test_a_snapshot_inside_the_log_keeps_what_follows(clock: VirtualClock) -> None:
    raft, _, _ = following(entries=50)
    data = Snapshot(Key(20, 1), Configuration({"a": "a:1", "b": "b:1", "c": "c:1"}), 2, b"x").encode()
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
    index = raft.change_configuration(raft.configuration.with_voter("d", "d:1"))
    assert raft.voters == {"a", "b", "c", "d"}
    with pytest.raises(Refused):
        raft.change_configuration(raft.configuration.with_voter("e", "e:1"))
    raft.doTick(0)
    tell(raft, "a", agreed(raft, index, prev=3))
    assert raft.commit_index < index  # two of four are no majority
    tell(raft, "c", agreed(raft, index, prev=3))
    assert raft.commit_index == index
    with pytest.raises(Refused):
        raft.change_configuration(Configuration({"a": "a:1", "b": "b:1"}))  # two at once
    raft.change_configuration(raft.configuration.without("c"))


def test_no_change_before_an_entry_of_the_own_term_is_committed(clock: VirtualClock) -> None:
    raft, transport, _ = one_raft()
    elect(raft, transport, clock)
    with pytest.raises(Refused):
        raft.change_configuration(raft.configuration.with_voter("d", "d:1"))


def test_a_truncated_change_is_taken_back(clock: VirtualClock) -> None:
    raft, transport, _ = following(entries=1)
    members = {"a": "a:1", "b": "b:1", "c": "c:1", "d": "d:1"}
    tell(raft, "a", append(1, 3, 1, [(encode_configuration(Configuration(members)), 4, 1)]))
    assert raft.voters == {"a", "b", "c", "d"}
    assert set(transport.nodes) == {"a", "c", "d"}
    tell(raft, "c", append(2, 3, 1, [(NOOP, 4, 2)]))
    assert raft.voters == {"a", "b", "c"}
    assert set(transport.nodes) == {"a", "c"}


def test_a_restart_enacts_uncommitted_changes_again(clock: VirtualClock) -> None:
    log = founded("a", "b", "c")
    log.add(encode_configuration(Configuration({"a": "a:1", "b": "b:1"})), 3, 0)
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
    tell(raft, "a", append(1, 1, 0, [(encode_configuration(Configuration({"a": "a:1"})), 2, 0)]))
    assert not raft.is_voter
    tell(raft, "a", append(1, 2, 0, [(encode_configuration(Configuration({"a": "a:1", "b": "b:1"})), 3, 1)]))
    assert raft.is_voter


def test_a_removed_peer_is_told_and_stops_campaigning(clock: VirtualClock) -> None:
    raft, transport, _ = following(entries=1)
    tell(raft, "a", append(1, 3, 1, [(encode_configuration(Configuration({"a": "a:1", "c": "c:1"})), 4, 1)]))
    assert not raft.removed
    tell(raft, "a", append(1, 4, 1, commit=4))
    assert raft.removed
    clock.now = raft.election_at + 0.001
    raft.doTick(0)
    assert (transport.take(), raft.role) == ([], FOLLOWER)


def test_the_leader_tells_a_removed_peer_and_then_lets_go(clock: VirtualClock) -> None:
    raft, transport, _ = leading(clock)
    index = raft.change_configuration(Configuration({"a": "a:1", "b": "b:1"}))
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
    index = raft.change_configuration(Configuration({"a": "a:1", "b": "b:1"}))
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

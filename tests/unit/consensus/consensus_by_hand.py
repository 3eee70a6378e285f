"""One peer whose other members are the test: how to make it follow, lead, and hear answers."""

from __future__ import annotations

from typing import Any

from consensus_virtual import VirtualClock, append, command, one_raft, tell

from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.raft import Raft
from raftchaos.consensus.seams import CANDIDATE, LEADER

A, C = PeerNode("a", "a:1"), PeerNode("c", "c:1")


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


def vote(term: int, raft: Raft, **more: Any) -> dict[str, Any]:
    last = raft.log.entries[-1]
    return {"type": "vote", "term": term, "last_term": last[2], "last_index": last[1], "handed_over": False, **more}


def reject(raft: Raft, *, prev: int, at: int, conflict: int) -> dict[str, Any]:
    reply = {"type": "append_reply", "term": raft.term, "success": False, "next": at, "prev": prev, "round": 0}
    return {**reply, "conflict": conflict}

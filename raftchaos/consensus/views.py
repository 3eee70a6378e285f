"""What the other rooms are told of a replica, read from Raft as it is now."""

from __future__ import annotations

from raftchaos.consensus.handshake import NOT_A_MEMBER
from raftchaos.consensus.raft import Raft
from raftchaos.consensus.seams import CANDIDATE, LEADER
from raftchaos.consensus.transport import TcpTransport
from raftchaos.core.interfaces import Quorum, ReplicaStatus


def status(raft: Raft, *, stopped: bool) -> ReplicaStatus:
    """See `ReplicatedLog.status`. A replica that has stopped reaches nobody."""
    voters = tuple(sorted(raft.voters))
    reachable = [node.name for node in raft.others if raft.is_connected(node) and node.name in raft.voters]
    if raft.is_voter:
        reachable.append(raft.me.name)
    if stopped:
        reachable = []
    missing = max(0, len(voters) // 2 + 1 - len(reachable))
    leader = raft.leader.name if raft.leader is not None and not stopped else None
    return ReplicaStatus(
        name=raft.me.name,
        role="follower" if stopped else _role(raft),
        term=raft.term,
        leader=leader,
        commit_index=raft.commit_index,
        applied_index=raft.applied_index,
        last_index=raft.log.last_index,
        quorum=Quorum(voters, tuple(sorted(reachable)), missing == 0, missing),
        ready=raft.caught_up and leader is not None and not removed(raft),
        leader_ready=raft.leader_ready and not stopped,
        observers=tuple(raft.configuration.observers),
    )


def _role(raft: Raft) -> str:
    if raft.role == LEADER:
        return "leader"
    if raft.role == CANDIDATE:
        return "candidate"
    return "observer" if raft.is_member and not raft.is_voter else "follower"


def behind(raft: Raft) -> dict[str, int]:
    """See `ReplicatedLog.behind`."""
    if raft.role != LEADER:
        return {}
    members = (*raft.others, *raft.observers)
    return {node.name: max(0, raft.commit_index - raft.match_index.get(node, 0)) for node in members}


def removed(raft: Raft) -> bool:
    """This peer was removed: its log says so, or most of the other voters say that it is no member.

    Its log may hold the removal and never hear that it is committed.
    """
    return raft.removed or refused(raft)


def refused(raft: Raft) -> bool:
    """Most of the other voters that this peer knows say that it is no member.

    One that says so by an older configuration than this peer has does not know of its joining yet.
    """
    transport = raft.transport
    others = set(raft.configuration.voters) - {raft.me.name}
    if not isinstance(transport, TcpTransport):
        return False
    refusals = [transport.refused_by[name] for name in others if name in transport.refused_by]
    told = [each for each in refusals if each.why == NOT_A_MEMBER and each.configuration >= raft.configuration_index]
    return 2 * len(told) > len(others)

"""Whole clusters on a virtual clock and network: no entry is applied twice differently, no acknowledged one is lost, no
term has two leaders. A failing seed is the whole reproduction.
"""

from __future__ import annotations

import contextlib
import random

import pytest
from consensus_virtual import VirtualClock, VirtualCluster, command, virtual_time

from raftchaos.consensus.entries import Configuration
from raftchaos.consensus.raft import Raft
from raftchaos.consensus.seams import LEADER
from raftchaos.errors import Refused

NAMES = ("a", "b", "c", "d", "e")


def disturb(cluster: VirtualCluster, chance: random.Random, crashes: bool) -> None:
    """One of the things that happen to clusters."""
    what = chance.random()
    if what < 0.4:
        cluster.heal()
        cluster.partition(set(chance.sample(cluster.names, chance.randint(1, len(cluster.names) // 2))))
    elif what < 0.7:
        cluster.heal()
    elif crashes and len(cluster.rafts) > len(cluster.names) // 2:
        cluster.crash(chance.choice(sorted(cluster.rafts)))
    else:
        for name in cluster.names:
            if name not in cluster.rafts:
                cluster.start(name)


def change_members(raft: Raft, cluster: VirtualCluster, chance: random.Random) -> None:
    """Remove a member, promote an observer, or add a voter or an observer, if the leader may just now."""
    name, present = chance.choice(cluster.names), raft.configuration
    if name == raft.me.name or (name in present.voters and len(present.voters) <= 2):
        return
    if name in present.voters or (name in present.observers and chance.random() < 0.3):
        wanted = present.without(name)
    elif name in present.observers or chance.random() < 0.5:
        wanted = present.with_voter(name, f"{name}:1")
    else:
        wanted = present.with_observer(name, f"{name}:1")
    with contextlib.suppress(Refused):
        raft.change_configuration(wanted)


def run(
    seed: int, *, fifo: bool, crashes: bool, size: int, seconds: float = 12.0, membership: bool = False
) -> VirtualCluster:
    """Disturb a cluster under load, let it heal, and check that it agrees on everything that it ever acknowledged."""
    chance = random.Random(f"{seed} {fifo} {crashes}")
    with virtual_time() as clock:
        cluster = VirtualCluster(clock, seed, NAMES[:size], fifo=fifo, compact=chance.choice((20, 40, 1_000)))
        end, proposed, next_disturbance = clock.now + seconds, 0, clock.now + 1.0
        while clock.now < end:
            cluster.step()
            for raft in list(cluster.rafts.values()):
                if raft.role == LEADER and chance.random() < 0.7:
                    proposed += 1
                    raft.append(command(f"{seed}:{proposed}", size=chance.choice((10, 10, 2_000))))
                    if membership and chance.random() < 0.02:
                        change_members(raft, cluster, chance)
            if clock.now >= next_disturbance:
                next_disturbance = clock.now + chance.uniform(0.1, 0.8)
                disturb(cluster, chance, crashes)
        calm(cluster, clock)
    return cluster


def calm(cluster: VirtualCluster, clock: VirtualClock) -> None:
    """Everyone is back: within ten seconds all have applied the same, and all of it."""
    cluster.heal()
    for name in cluster.names:
        if name not in cluster.rafts:
            cluster.start(name)
    end = clock.now + 10.0
    members: set[str] = set()
    while clock.now < end:
        cluster.step()
        leaders = [raft for raft in cluster.rafts.values() if raft.leader_ready]
        present = max(leaders, key=lambda raft: raft.term).configuration if leaders else Configuration({})
        members = {*present.voters, *present.observers}
        rafts = [cluster.rafts[name] for name in sorted(members)]
        applied = {raft.applied_index for raft in rafts}
        if len(applied) == 1 and all(raft.applied_index == raft.log.last_index for raft in rafts):
            break
    assert members, "nobody leads"
    states = [cluster.owners[name].state for name in sorted(members)]
    assert all(state == states[0] for state in states)
    assert set(cluster.acknowledged) <= set(states[0]), "an acknowledged entry is lost"
    assert len(states[0]) > 50, "the cluster did hardly anything"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize("fifo", [True, False])
def test_nothing_acknowledged_is_lost(seed: int, fifo: bool, crashes: bool) -> None:
    run(seed, fifo=fifo, crashes=crashes, size=5 if seed % 2 else 3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("fifo", [True, False])
def test_nothing_is_lost_while_members_change(seed: int, fifo: bool) -> None:
    cluster = run(1_000 + seed, fifo=fifo, crashes=seed % 2 == 0, size=5, membership=True)
    assert max(raft.configuration_index for raft in cluster.rafts.values()) > 2


def test_a_peer_that_was_cut_off_does_not_depose_the_leader() -> None:
    for seed in range(20):
        with virtual_time() as clock:
            cluster = VirtualCluster(clock, seed, NAMES[:3], fifo=True, compact=1_000)
            while not any(raft.role == LEADER for raft in cluster.rafts.values()):
                cluster.step()
            for _ in range(100):
                cluster.step()
            (leader,) = [raft for raft in cluster.rafts.values() if raft.role == LEADER]
            term = leader.term
            cluster.partition({next(name for name in cluster.names if name != leader.me.name)})
            for _ in range(600):
                cluster.step()
            cluster.heal()
            for _ in range(200):
                cluster.step()
            assert (leader.role, leader.term) == (LEADER, term)


def test_a_diverged_tail_is_level_within_a_moment() -> None:
    with virtual_time() as clock:
        cluster = VirtualCluster(clock, 1, NAMES[:3], fifo=True, compact=10**6)
        while not any(raft.leader_ready for raft in cluster.rafts.values()):
            cluster.step()
        (leader,) = [raft for raft in cluster.rafts.values() if raft.role == LEADER]
        cluster.partition({leader.me.name})
        for i in range(10_000):
            leader.log.add(command(f"lost:{i}"), leader.log.last_index + 1, leader.term)
        while not any(raft.leader_ready and raft is not leader for raft in cluster.rafts.values()):
            cluster.step()
        cluster.heal()
        healed = clock.now
        while len({raft.log.last_index for raft in cluster.rafts.values()}) > 1:
            cluster.step()
            assert clock.now < healed + 1.0
        assert leader.counts["truncated"] == 10_000

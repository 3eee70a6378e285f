"""With durability *process* a power cut takes the end of a follower's log, which the rest of the cluster has."""

from __future__ import annotations

import random

import pytest

from raftchaos.consensus.config import PROCESS
from raftchaos.core.commands import SubmitTask, encode
from tests.simulation.cluster import Cluster
from tests.simulation.machine import Machine
from tests.simulation.world import World

ENTRIES = 40
SOON = 5.0


class LosesAll(random.Random):
    """A power cut by this chance leaves nothing of a file but what was synced."""

    def random(self) -> float:
        """See random.Random."""
        return 0.35


def last(machine: Machine) -> int:
    """The newest entry of this machine's log."""
    assert machine.main is not None
    return machine.main.replica.raft.log.last_index


def level(cluster: Cluster) -> bool:
    """All peers run, and have the same log, committed and applied."""
    peers = list(cluster.peers())
    found = {(last(peer.machine), peer.replica.raft.commit_index, peer.state.applied_index) for peer in peers}
    return len(peers) == len(cluster.machines) and len(found) == 1 and cluster.leader() is not None


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_follower_that_lost_what_it_had_confirmed_is_level_soon_under_the_same_leader(seed: int) -> None:
    world = World(f"lost log {seed}")
    with Cluster(world, 3, observers=1, durability=PROCESS) as cluster:
        cluster.restart_after = (0.2, 0.5)
        assert world.run(10, lambda: level(cluster)), world.trace
        leader = cluster.leader()
        assert leader is not None
        for number in range(ENTRIES):
            command = encode(SubmitTask(f"t{number}", {"no orchestration": "x" * 600}))
            leader.run(leader.replica.propose(f"x:{number}", command))
        assert world.run(world.now + 10, lambda: last(leader.machine) > ENTRIES and level(cluster)), world.trace
        for name in sorted(cluster.machines.keys() - {leader.name}):
            machine, before = cluster.machines[name], last(leader.machine)
            machine.chance = LosesAll(seed)
            machine.power_cut()
            assert world.run(world.now + SOON, lambda each=machine: each.main is not None and each.main.started)  # type: ignore[misc]
            assert last(machine) < before, "the power cut took nothing"
            assert world.run(world.now + SOON, lambda: level(cluster)), world.trace
        assert (cluster.leader(), leader.replica.raft.term) == (leader, 1), "only another leader helped"
        assert not world.violations

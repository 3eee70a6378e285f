"""A newcomer under the name of a removed peer reads its name's past in a log that comes in many pieces."""

from __future__ import annotations

from raftchaos.core.commands import SubmitTask, encode
from tests.simulation.cluster import Cluster
from tests.simulation.script_actions import Actions
from tests.simulation.workload import remove
from tests.simulation.world import World

PIECES, PIECE = 3, 300_000
"""Entries, and the bytes in each: more than one message takes."""
NAME = "n4"


def test_a_newcomer_does_not_end_because_of_what_it_reads_of_the_removed_one() -> None:
    world = World("a newcomer")
    with Cluster(world, 4) as cluster:
        actions, machine = Actions(cluster), cluster.machines[NAME]
        assert world.run(10, actions.ready), world.trace
        actions.hand_over("n1")
        assert world.run(10, lambda: actions.leads("n1")), world.trace
        leader = cluster.machines["n1"].main
        assert leader is not None
        for number in range(PIECES):
            command = encode(SubmitTask(f"t{number}", {"no orchestration": "x" * PIECE}))
            leader.run(leader.replica.propose(f"x:{number}", command))
        assert world.run(20, lambda: leader.replica.raft.commit_index > PIECES), world.trace
        leader.run(remove(cluster, leader, NAME))
        assert world.run(30, lambda: machine.removed and machine.main is None), world.trace
        machine.begin_anew()
        assert world.run(60, actions.ready), world.trace
        assert (machine.incarnation, world.violations) == (1, [])

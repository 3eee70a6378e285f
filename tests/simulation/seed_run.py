"""One seed: a cluster in trouble with users at work, then peace, in which all that was promised must come true."""

from __future__ import annotations

from dataclasses import dataclass, field

from raftchaos.consensus.config import DISK, PROCESS
from raftchaos.consensus.timings import Timings
from raftchaos.errors import RaftchaosError
from raftchaos.model.nodes import NodeStatus
from raftchaos.model.tasks import TaskStatus
from tests.simulation.cluster import Cluster
from tests.simulation.nemesis import Nemesis
from tests.simulation.peer import PeerProcess
from tests.simulation.workload import Workload
from tests.simulation.world import World

PEACE = 90.0
"""Seconds in which every task must end once everything is whole: the longest are planned for 18 s, and one that
nobody can run any more is skipped step by step."""
LOOK = 0.2
ALL = 20_000
"""So many entries before a snapshot that there is none."""
TIMINGS = (Timings(), Timings(election_min=0.6, election_max=1.2, append_period=0.15))
"""Those of the product, and ones with fewer messages, which cost less."""


@dataclass
class Report:
    """What became of a seed."""

    seed: int
    digest: int
    violations: list[str]
    trace: list[str]
    seconds: float
    """Simulated."""
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Something was violated."""
        return bool(self.violations)


class SeedRun:
    """One run of one seed."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.seed, self.seconds = seed, seconds
        self.world = World(seed)
        chance = self.world.chance("plan")
        self.durability = chance.choice((PROCESS, PROCESS, DISK))
        self.size = chance.choice((3, 3, 3, 3, 4, 5))
        self.observers = self.world.chance("observers").choice((0, 0, 0, 1, 2))
        unruly, timings = chance.choice((0.0, 0.0, 0.02)), chance.choice(TIMINGS)
        kept = chance.choice((25, 60, ALL))
        self.cluster = Cluster(
            self.world,
            self.size,
            observers=self.observers,
            unruly=unruly,
            timings=timings,
            durability=self.durability,
            entries_before_snapshot=kept,
        )
        for machine in self.cluster.machines.values():
            machine.slowest_recovery = chance.choice((0.1, 0.5, 1.4))
            machine.slowest_undo = chance.choice((0.0, 0.3, 1.3))
        self.workload = Workload(self.cluster, every=chance.choice((0.15, 0.3)), burden=chance.choice((0.02, 0.15)))
        self.patience = chance.choice((3.0, 3.0, 3.0, PEACE))
        """Tasks that have not ended so many seconds after everything was put right are cancelled, mostly: waiting for
        one another they may take a minute, and nothing new happens in it."""
        self.put_right_at = seconds
        self.nemesis = Nemesis(
            self.cluster,
            every=chance.choice((0.4, 0.8, 1.6)),
            removals=chance.random() < 0.3,
            # One that rewrites its log, and did not sync it, may have none after a power cut, and has to join anew.
            power_cuts=self.durability == DISK or kept == ALL,
        )

    def run(self) -> Report:
        """Trouble, peace, and the last look."""
        with self.cluster:
            self.workload.begin()
            self.nemesis.begin()
            self.world.run(self.seconds)
            self.workload.end()
            self.nemesis.end()
            self._make_peace()
            self._wait_for_peace()
            self._agree()
            checks = self.cluster.checks
            counts = {
                "events": self.world.events,
                "injections": checks.faults.injections,
                "answers": checks.history.answers,
                "accepted": len(checks.history.accepted),
                **{f"deed {name.strip('_')}": count for name, count in sorted(self.nemesis.deeds.items())},
                **{f"log {kind}": count for kind, count in sorted(checks.state.kinds.items())},
            }
        return Report(self.seed, self.world.digest, self.world.violations, self.world.trace, self.world.now, counts)

    # ---- peace

    def _make_peace(self) -> None:
        """What users put on hold, they let go on: halts, drains and pauses, as often as it takes."""
        if not self._missing():
            return
        leader = self.cluster.leader()
        if leader is not None:
            leader.run(self._let_go_on(leader))
        self.world.at(1.0, self._make_peace)

    async def _let_go_on(self, peer: PeerProcess) -> None:
        state = peer.state.state
        try:
            if state.halted:
                await peer.services.resume(None)
            for name, node in sorted(state.nodes.items()):
                if node.drained:
                    await peer.services.drain_node(name, False)
            for name, task in sorted(state.tasks.items()):
                if self.world.now > self.put_right_at + self.patience and task.final is None:
                    await peer.services.cancel_task(name, "enough")
                elif task.status is TaskStatus.PAUSED:
                    await peer.services.resume_task(name)
        except RaftchaosError as error:
            self.world.note("user", f"peace: {error}")

    def _wait_for_peace(self) -> None:
        end = self.world.now + PEACE
        while not self.world.violations:
            self.world.run(self.world.now + LOOK)
            missing = self._missing()
            if not missing:
                return
            if self.world.now >= end:
                self.world.violated("G4", f"{PEACE:.0f} s after everything was put right: {missing}")

    def _missing(self) -> str:
        """What peace still lacks; "" if nothing."""
        leader = self.cluster.leader()
        if leader is None:
            return "there is no leader"
        state = leader.state.state
        machines = [machine for machine in self.cluster.machines.values() if not machine.removed]
        for machine in machines:
            node = state.nodes.get(machine.name)
            if machine.name in self.cluster.removed and node is None:
                return f"{machine.name} does not know that it was removed"
            if machine.main is None or not machine.main.started:
                return f"{machine.name} does not run"
            if node is None or node.status is not NodeStatus.ACTIVE or node.incarnation != machine.incarnation:
                return f"{machine.name} is not active in the registry"
            if not machine.main.keeper.running():
                return f"{machine.name} holds no lease"
            if machine.effects:
                return f"{sorted(machine.effects)} was not recovered on {machine.name}"
            if machine.main.state.applied_index != leader.state.applied_index:
                return f"{machine.name} is behind"
            if machine.main.replica.raft.configuration != leader.replica.raft.configuration:
                return f"{machine.name} knows other members than the leader"
        left = self.cluster.checks.history.unfinished(leader)
        if state.halted or left or state.tasks:
            return f"halted {sorted(state.halts)}, not ended: {sorted({*left, *state.tasks})}"
        return ""

    def _agree(self) -> None:
        """Everybody has the same state and the same members: the machines that are there, with the votes that they were
        given."""
        if self.world.violations:
            return
        peers = [peer for peer in self.cluster.peers() if not peer.replica.removed]
        hashes = {peer.name: peer.state.state_hash() for peer in peers}
        if len(set(hashes.values())) > 1:
            self.world.violated("G8", f"the last states differ: {hashes}")
        machines = {name: machine for name, machine in self.cluster.machines.items() if not machine.removed}
        voters = {name for name, machine in machines.items() if not machine.observer}
        for peer in peers:
            found = peer.replica.raft.configuration
            if not voters <= set(found.voters) or {*found.voters, *found.observers} != set(machines):
                told = f"{sorted(voters)} of {sorted(machines)} were given a vote, {peer.name} knows {found}"
                self.world.violated("MEMBERS", told)

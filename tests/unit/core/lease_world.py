"""A small world for the pure lease rules: one node, two peers that lead in turn, a log, and everything that goes wrong.

Discrete events on one true time; every machine has its own clock with its own offset and drift. Messages are lost,
delayed and reordered, machines freeze, leaders are deposed without knowing it and their last commands survive or not,
commands are applied late. The world checks, at every instant that matters, that no NodeFailed is in the log before the
node's lease is over and its time to revert has passed, and that a lease is not renewed while its node counts as failed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from raftchaos import limits
from raftchaos.core.apply import Context
from raftchaos.core.apply import apply as core_apply
from raftchaos.core.commands import Command, LeaderStarted, NodeFailed, RegisterNode
from raftchaos.core.leader_leases import LeaderLeases, Ping, WaitingPing
from raftchaos.core.node_lease import LeaseChange, NodeLease
from raftchaos.core.state import ClusterState
from raftchaos.model.nodes import NodeStatus

NODE = "n1"
LATE = 0.05  # seconds that a check may be late by


class Broken(AssertionError):
    """A schedule has broken a promise of the lease."""


def apply(state: ClusterState, command: Command, index: int) -> ClusterState:
    """The state after a command of the log."""
    return core_apply(state, command, Context(index, 0, state.term)).state


def failed(state: ClusterState) -> bool:
    """Whether the node counts as failed."""
    return NODE in state.nodes and state.nodes[NODE].status is NodeStatus.FAILED


class Machine:
    """A clock, a frozen flag, and how much of the log it has applied."""

    def __init__(self, rng: random.Random) -> None:
        self.offset = rng.uniform(10, 1000)
        self.rate = rng.choice((0.99, 1.0, 1.01))
        self.frozen_until = 0.0
        self.applied = 0
        self.state = ClusterState()
        self.slow = 0.0


class LeadingPeer(Machine):
    """A peer that may lead; it learns only later that it was deposed."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.term = 0
        self.leases: LeaderLeases | None = None
        self.proposed: set[Command] = set()


class World:
    """See the module. `leases_class` and `node_lease_class` may be replaced by broken ones, to see them found."""

    def __init__(
        self,
        seed: int,
        leases_class: type[LeaderLeases] = LeaderLeases,
        node_lease_class: type[NodeLease] = NodeLease,
    ) -> None:
        self.rng = random.Random(seed)
        self.leases_class = leases_class
        self.node_lease_class = node_lease_class
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.log: list[Command] = []
        self.truth = ClusterState()
        self.term = 0
        self.pending: list[tuple[int, Command]] = []  # appended by a leader, not committed
        self.node = Machine(self.rng)
        self.peers = [LeadingPeer(self.rng), LeadingPeer(self.rng)]
        self.leader = self.peers[0]
        self.loss, self.delay, self.commit_delay = 0.0, 0.02, 0.01
        self.unpinged = 0.2
        self.failures = self.renewals = self.lapses = 0
        self.incarnation = 0
        self.restart()
        self.elect()
        self.tick_leader(self.peers[0])
        self.tick_leader(self.peers[1])

    # ---- time ---------------------------------------------------------------------------------------------------

    def after(self, delay: float, action: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + delay, self.count, action))

    def on(self, machine: Machine, delay: float, action: Callable[[], None]) -> None:
        """After `delay`, as soon as the machine is not frozen."""

        def run() -> None:
            if self.now < machine.frozen_until:
                self.after(machine.frozen_until - self.now + self.rng.uniform(0, 0.01), run)
            else:
                action()

        self.after(delay, run)

    def run(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            self.now, _, action = heapq.heappop(self.events)
            action()
        self.now = until

    def clock(self, machine: Machine) -> float:
        return machine.offset + machine.rate * self.now

    def send(self, machine: Machine, action: Callable[[], None]) -> None:
        if self.rng.random() >= self.loss:
            self.on(machine, self.rng.uniform(0.001, self.delay), action)

    # ---- the log ------------------------------------------------------------------------------------------------

    def elect(self) -> None:
        """A majority follows another peer, or the same in a new term; the old leader does not know."""
        self.term += 1
        survivors = [command for _, command in self.pending if self.rng.random() < 0.5]
        self.pending = []
        for command in survivors:
            self.commit(command)
        self.leader = self.rng.choice(self.peers)
        peer, term = self.leader, self.term
        self.on(peer, self.rng.uniform(0.0, 0.3), lambda: self.learn(peer, term))

    def learn(self, peer: LeadingPeer, term: int) -> None:
        if term <= peer.term:
            return
        peer.term, peer.proposed = term, set()
        peer.leases = self.leases_class(term, self.clock(peer))
        self.propose(peer, LeaderStarted(term, f"leader-{self.peers.index(peer)}"))

    def propose(self, peer: LeadingPeer, command: Command) -> None:
        if command in peer.proposed:
            return
        peer.proposed.add(command)
        if peer.term == self.term:
            self.append(command)

    def append(self, command: Command) -> None:
        term = self.term
        self.pending.append((term, command))
        self.after(self.rng.uniform(0.001, self.commit_delay), lambda: self.try_commit(term, command))

    def try_commit(self, term: int, command: Command) -> None:
        if (term, command) in self.pending:
            position = self.pending.index((term, command))
            for _, earlier in self.pending[: position + 1]:
                self.commit(earlier)
            del self.pending[: position + 1]

    def commit(self, command: Command) -> None:
        self.log.append(command)
        before = self.truth
        self.truth = apply(self.truth, command, len(self.log))
        if isinstance(command, NodeFailed) and failed(self.truth) and not failed(before):
            self.failures += 1
            self.check_failure(command)
        for machine in (self.node, *self.peers):
            self.on(machine, self.rng.uniform(0, machine.slow or 0.01), lambda machine=machine: self.catch_up(machine))

    def catch_up(self, machine: Machine) -> None:
        goal = self.rng.randint(machine.applied, len(self.log))
        while machine.applied < goal:
            machine.applied += 1
            machine.state = apply(machine.state, self.log[machine.applied - 1], machine.applied)
        if machine.applied < len(self.log):
            self.on(machine, self.rng.uniform(0.001, machine.slow or 0.01), lambda: self.catch_up(machine))
        if machine is self.node:
            self.note(self.lease.on_applied(machine.applied, self.clock(machine)))

    # ---- the node -----------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """The node starts anew; what the old start did is taken back before it registers."""
        self.incarnation += 1
        self.lease = self.node_lease_class()
        self.lease.on_applied(self.node.applied, self.clock(self.node))
        self.append(RegisterNode(NODE, self.incarnation, "dir", "", ""))
        incarnation = self.incarnation
        self.on(self.node, 0.0, lambda: self.ping(incarnation))

    def ping(self, incarnation: int) -> None:
        if incarnation != self.incarnation:
            return
        self.on(self.node, limits.PING_INTERVAL, lambda: self.ping(incarnation))
        record = self.node.state.nodes.get(NODE)
        if record is None or record.incarnation != incarnation:
            self.append(RegisterNode(NODE, incarnation, "dir", "", ""))  # repeated until it is in the log
        ping = Ping(
            NODE, incarnation, "dir", self.lease.ping(self.clock(self.node)), self.node.applied, self.lease.newest_pong
        )
        for peer in self.peers:  # to whom it believes to lead: here mostly to both
            if self.rng.random() >= self.unpinged:
                self.send(peer, lambda peer=peer: self.on_ping(peer, ping))

    def on_pong(self, incarnation: int, seq: int, commit_index: int) -> None:
        if incarnation == self.incarnation:
            self.note(self.lease.on_pong(seq, commit_index, self.clock(self.node)))

    def note(self, change: LeaseChange) -> None:
        self.lapses += change.lapsed is not None
        if change.renewed:
            self.renewals += 1
            record = self.truth.nodes.get(NODE)
            if record is None or record.incarnation != self.incarnation or record.status is NodeStatus.FAILED:
                raise Broken(f"{self.now:.2f}: the lease was renewed while the node counts as {record}")

    def check_failure(self, command: NodeFailed) -> None:
        now = self.clock(self.node)
        over = self.lease.end + limits.REVERT
        if command.incarnation == self.incarnation and self.lease.epoch and now < over - LATE:
            raise Broken(f"{self.now:.2f}: NodeFailed {over - now:.2f} s before the end of the lease and its reversion")

    # ---- leaders ------------------------------------------------------------------------------------------------

    def on_ping(self, peer: LeadingPeer, ping: Ping) -> None:
        if peer.leases is not None:
            peer.leases.on_ping(self.clock(peer), ping, peer.state.nodes.get(NODE))

    def tick_leader(self, peer: LeadingPeer) -> None:
        self.on(peer, limits.LEADER_TICK, lambda: self.tick_leader(peer))
        if peer.leases is None or peer.state.term != peer.term:
            return
        peer.proposed = {command for command in peer.proposed if isinstance(command, LeaderStarted)}
        for command in peer.leases.due(self.clock(peer), peer.state):
            if not any(pending == command for _, pending in self.pending):
                self.propose(peer, command)
        pings = peer.leases.take_waiting()
        if pings:
            term, leases = peer.term, peer.leases
            self.on(peer, self.rng.uniform(0.001, self.delay), lambda: self.confirm(peer, term, leases, pings))

    def confirm(self, peer: LeadingPeer, term: int, leases: LeaderLeases, pings: list[WaitingPing]) -> None:
        """A majority answers, if it still follows this term; the answer takes its way, and so does the pong."""
        if term != self.term:
            return
        commit_index = len(self.log)

        def answer() -> None:
            if peer.leases is not leases:
                return
            for ping in leases.answered(pings, peer.state):
                self.send(self.node, lambda ping=ping: self.on_pong(ping.incarnation, ping.seq, commit_index))

        self.on(peer, self.rng.uniform(0.001, self.delay), answer)

    # ---- trouble ------------------------------------------------------------------------------------------------

    def trouble(self, until: float) -> None:
        if self.now >= until:
            return
        self.after(self.rng.expovariate(0.6), lambda: self.trouble(until))
        kind, rng = self.rng.randrange(8), self.rng
        if kind == 0:
            self.loss = rng.choice((0.0, 0.2, 0.6, 1.0))
        elif kind == 1:
            self.delay = rng.choice((0.02, 0.6, 1.5, 4.0))
        elif kind == 2:
            machine = rng.choice((self.node, *self.peers))
            machine.frozen_until = self.now + rng.choice((0.3, 2.0, 4.0, 7.0, 11.0)) * rng.uniform(0.7, 1.2)
        elif kind == 3:
            self.elect()
        elif kind == 4:
            self.commit_delay = rng.choice((0.01, 0.5, 7.0))
        elif kind == 5:
            rng.choice((self.node, *self.peers)).slow = rng.choice((1.0, 3.0, 8.0))
        elif kind == 6:
            self.restart()
        else:
            self.calm()

    def calm(self) -> None:
        self.loss, self.delay, self.commit_delay = 0.0, 0.02, 0.01
        for machine in (self.node, *self.peers):
            machine.slow = 0.0

    def heal(self) -> None:
        self.calm()
        self.unpinged = 0.0
        for machine in (self.node, *self.peers):
            machine.frozen_until = min(machine.frozen_until, self.now)


def troubled(seed: int, **classes: type) -> World:
    """One random schedule: trouble, then peace, in which the node must hold a lease again and count as active."""
    world = World(seed, **classes)
    world.run(2.0)
    world.trouble(40.0)
    world.run(40.0)
    world.heal()
    world.elect()
    world.run(75.0)
    record = world.truth.nodes[NODE]
    if record.status is not NodeStatus.ACTIVE or record.incarnation != world.incarnation:
        raise Broken(f"the node never came back: {record}")
    if not world.lease.running(world.clock(world.node)):
        raise Broken("the node never had a lease again")
    return world

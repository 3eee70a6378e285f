"""G6: a halt is instant where it is known, total once it is committed, and nothing starts until it is lifted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftchaos import limits
from raftchaos.core.interfaces import Entry
from tests.simulation.checks.fault_check import SLACK, overdue

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.effects import Effect
    from tests.simulation.machine import Machine
    from tests.simulation.peer import PeerProcess

AT_ONCE = 1.0


class HaltCheck:
    """Knows since when the cluster is halted."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._since: float | None = None
        self._newest = 0

    def applied(self, peer: PeerProcess, entry: Entry) -> None:
        """Whether it halts the cluster or lifts its last halt."""
        if entry.index <= self._newest:
            return
        self._newest = entry.index
        halted = peer.state.state.halted
        if halted and self._since is None:
            self._since = self._world.now
        elif not halted:
            self._since = None

    def injected(self, machine: Machine, effect: Effect) -> None:
        """Nothing begins once every lease of the time before has ended."""
        if self._since is not None and self._world.now > self._since + limits.LEASE / 0.99 + SLACK:
            since = self._world.now - self._since
            self._world.violated("G6", f"{effect.key} was injected on {machine.name} {since:.2f} s after a halt")

    def look(self) -> None:
        """Nothing is on when every lease of the time before has ended and was reverted."""
        if self._since is None or self._world.now <= self._since + (limits.LEASE + limits.REVERT) / 0.99 + SLACK:
            return
        for machine in self._cluster.machines.values():
            for effect in machine.active():
                if effect.kind == "proxy" or overdue(machine, machine.boot() - limits.REVERT - 2 * SLACK):
                    self._world.violated(
                        "G6", f"{effect.key} is on {machine.name} {self._world.now - self._since:.2f} s after a halt"
                    )

    def obeyed(self, peer: PeerProcess) -> None:
        """This peer was asked to halt just now."""
        self._world.at(AT_ONCE, self._look_at, peer, peer.loop.thawed_at)

    def _look_at(self, peer: PeerProcess, thawed_at: float) -> None:
        if peer.dead or peer.loop.frozen or peer.loop.thawed_at != thawed_at or not peer.halts.halted:
            return
        on = [effect.key for effect in peer.machine.active() if effect.life == peer.incarnation]
        waiting = sorted(set(on) - peer.machine.recovering)
        if waiting:
            self._world.violated("G6", f"{peer.name} has not begun to take back {waiting} {AT_ONCE} s after a halt")

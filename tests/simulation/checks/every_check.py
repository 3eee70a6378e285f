"""What must hold at every instant of every simulation. Apart from whatever drives the simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raftchaos.core.interfaces import Entry
from tests.simulation.checks.fault_check import FaultCheck
from tests.simulation.checks.halt_check import HaltCheck
from tests.simulation.checks.history_check import HistoryCheck
from tests.simulation.checks.log_check import LogCheck
from tests.simulation.checks.state_check import StateCheck

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.effects import Effect
    from tests.simulation.machine import Machine
    from tests.simulation.peer import PeerProcess


class Checks:
    """Passes on what happens to those who know what it must look like."""

    def __init__(self, cluster: Cluster) -> None:
        self.log = LogCheck(cluster)
        self.state = StateCheck(cluster)
        self.faults = FaultCheck(cluster)
        self.halts = HaltCheck(cluster)
        self.history = HistoryCheck(cluster)

    def peer_started(self, peer: PeerProcess) -> None:
        """It has read its files."""
        self.log.peer_started(peer)

    def peer_ended(self, peer: PeerProcess) -> None:
        """It is dead; its files are what they are now."""
        self.log.peer_ended(peer)

    def turned(self, peer: PeerProcess) -> None:
        """Its loop has made a turn."""
        self.log.turned(peer)

    def applied(self, peer: PeerProcess, entry: Entry, result: dict[str, Any]) -> None:
        """It has applied a command."""
        self.state.applied(peer, entry, result)
        self.halts.applied(peer, entry)

    def injected(self, machine: Machine, effect: Effect) -> None:
        """A fault is on."""
        self.faults.injected(machine, effect)
        self.halts.injected(machine, effect)
        self.look()

    def recovered(self, machine: Machine, key: str) -> None:
        """A fault is off."""
        self.look()

    def look(self) -> None:
        """At what is on now."""
        self.faults.look()
        self.halts.look()

"""What every applied command must leave behind: sound states (G5 and G7 in the registry), equal on all peers (G8), and
no run granted twice (G3).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from raftchaos.core import commands as c
from raftchaos.core.interfaces import Entry
from raftchaos.core.invariants import check
from raftchaos.core.state import ClusterState
from raftchaos.errors import RaftchaosError
from raftchaos.model.resolved import CoordinationMode

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.peer import PeerProcess

HASH_EVERY = 7
UNTOLD = ("orchestration", "directory", "term")


class StateCheck:
    """Compares peers at equal indices."""

    def __init__(self, cluster: Cluster) -> None:
        self._world = cluster.world
        self._results: dict[int, tuple[bytes, dict[str, Any]]] = {}
        self._hashes: dict[int, str] = {}
        self._granted: dict[str, int] = {}
        self.newest = 0
        self.state = ClusterState()
        """The newest that any peer has."""
        self.modes: dict[str, CoordinationMode] = {}
        """Of every task that was ever accepted."""
        self.kinds: dict[str, int] = {}
        """How many commands of each kind were accepted."""

    def applied(self, peer: PeerProcess, entry: Entry, result: dict[str, Any]) -> None:
        """One command on one peer."""
        first = self._results.setdefault(entry.index, (entry.command, result))
        if first[0] != entry.command or first[1] != result:
            self._world.violated(
                "G8", f"{peer.name} answers entry {entry.index} by {result}, another one by {first[1]}"
            )
        if entry.index % HASH_EVERY == 0:
            found = peer.state.state_hash()
            if self._hashes.setdefault(entry.index, found) != found:
                self._world.violated("G8", f"{peer.name} has another state after entry {entry.index}")
        if entry.index > self.newest:
            self.newest = entry.index
            self._first_time(peer, entry, result)

    def _first_time(self, peer: PeerProcess, entry: Entry, result: dict[str, Any]) -> None:
        self.state = peer.state.state
        for problem in check(peer.state.state):
            self._world.violated("STATE", f"after entry {entry.index}: {problem}")
        for defect in peer.state.defects:
            self._world.violated("DEFECT", defect)
        try:
            command = c.decode(entry.command)
        except RaftchaosError as error:  # what is no command is one of the things that are tried
            self._world.note("log", f"{entry.index}: {error}"[:120])
            return
        if result.get("ok"):
            self.kinds[command.kind] = self.kinds.get(command.kind, 0) + 1
        if isinstance(command, c.SubmitTask) and command.id in self.state.tasks:
            self.modes[command.id] = self.state.tasks[command.id].orchestration.mode
        if isinstance(command, c.StartRun) and result.get("granted") and not result.get("repeated"):
            before = self._granted.setdefault(command.run, entry.index)
            if before != entry.index:
                self._world.violated("G3", f"{command.run} was granted at {before} and {entry.index}")
        self._world.note("log", f"{entry.index}: {_told(command, result)}")


def _told(command: c.Command, result: dict[str, Any]) -> str:
    names = [field.name for field in dataclasses.fields(command) if field.name not in UNTOLD]
    fields = {name: getattr(command, name) for name in names}
    if isinstance(command, c.RegisterNode):
        fields = {"node": command.name, "incarnation": command.incarnation}
    shown = " ".join(f"{name}={value}" for name, value in fields.items() if value not in ("", []))
    answer = "" if result.get("ok") else f" -> REFUSED {result.get('code')}: {result.get('error')}"
    return f"{command.kind} {shown[:160]}{answer}{' (repeated)' if result.get('repeated') else ''}"

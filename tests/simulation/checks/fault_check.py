"""What is on, against leases (G1), grants (G3), sequential tasks (G5) and limits (G7). Looks at the machines' effects,
never at what the product believes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from raftchaos import limits
from raftchaos.agent.records import Phase
from raftchaos.core.progress import slot_of
from raftchaos.model.resolved import CoordinationMode
from raftchaos.model.runs import RunId, RunStatus
from raftchaos.model.tasks import TaskStatus

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.effects import Effect
    from tests.simulation.machine import Machine
    from tests.simulation.peer import PeerProcess

STARTED = (RunStatus.GRANTED, RunStatus.ACTIVE)
SLACK = 0.1  # of the simulation itself: the distance of two looks, and a message on its way


def overdue(machine: Machine, since: float) -> bool:
    """Whether everything that had to be taken back at this instant of the machine's clock must be off by now."""
    if not machine.able or machine.undo_fails:
        return False
    return machine.boot() > max(since, machine.able_since) + limits.REVERT + SLACK


class FaultCheck:
    """Knows every fault that ever was on."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._keys: dict[str, str] = {}
        self._struck: dict[tuple[str, int, int, str], str] = {}
        self.injections = 0
        self.most_at_once = 0

    def injected(self, machine: Machine, effect: Effect) -> None:
        """G3: each fault of each run once, ever, anywhere."""
        self.injections += 1
        before = self._keys.get(effect.key)
        if before is not None:
            self._world.violated("G3", f"{effect.key} was injected on {before}, and again on {machine.name}")
        self._keys[effect.key] = machine.name
        for other in machine.active():
            if other.target == effect.target and other.run != effect.run and not machine.undo_fails:
                self._world.violated("G7", f"{effect.run} was injected on {effect.target}, which {other.run} is on")

    def struck(self, machine: Machine, key: str) -> None:
        """G3: what cannot be taken back is done once, also when its node was lost and others could take over."""
        self.injections += 1
        run = RunId.parse(key.partition("#")[0])
        task = self._cluster.checks.state.state.tasks.get(run.task)
        place = (run.task, run.iteration, run.step, slot_of(task, run) if task is not None else str(run))
        before = self._struck.setdefault(place, key)
        if before != key or key in self._keys:
            self._world.violated("G3", f"{key} was done on {machine.name} although {before} may have happened")
        self._keys[key] = machine.name

    def look(self) -> None:
        """Everything that is on now."""
        on = {machine: machine.active() for machine in self._cluster.machines.values()}
        for machine, effects in on.items():
            for effect in effects:
                self._leased(machine, effect)
        counted = {machine: effects for machine, effects in on.items() if effects and self._counts(machine, effects)}
        self.most_at_once = max(self.most_at_once, len(counted))
        self._within_limits(counted)
        self._one_at_a_time(counted)

    def _leased(self, machine: Machine, effect: Effect) -> None:
        end = effect.leases.get(effect.epoch, 0.0)
        if effect.kind == "proxy":
            late = machine.boot() > end + SLACK
        else:
            late = overdue(machine, end)
        if late:
            self._world.violated("G1", f"{effect.key} is on {machine.boot() - end:.2f} s after the end of its lease")

    @staticmethod
    def _counts(machine: Machine, effects: list[Effect]) -> bool:
        """Not the exceptions of G1: a machine on which nobody could take back what is on."""
        now = machine.boot()
        return any(now <= effect.leases.get(effect.epoch, 0.0) + limits.REVERT for effect in effects)

    def _within_limits(self, on: dict[Machine, list[Effect]]) -> None:
        """A limit binds while its task runs and has started something: what it is only taking back, it may have to
        take back beside others, if it was paused when they were granted."""
        state = self._cluster.checks.state.state
        for name, task in state.tasks.items():
            if len(on) <= task.max_nodes or task.status is not TaskStatus.RUNNING:
                continue
            started = {run.node for run in state.runs.values() if run.id.task == name and run.status in STARTED}
            if started & {machine.name for machine in on}:
                names = sorted(machine.name for machine in on)
                self._world.violated("G7", f"faults are on {names}, the task {name} allows {task.max_nodes} nodes")

    def _one_at_a_time(self, on: dict[Machine, list[Effect]]) -> None:
        nodes: dict[str, set[str]] = {}
        for machine, effects in on.items():
            for effect in effects:
                nodes.setdefault(RunId.parse(effect.run).task, set()).add(machine.name)
        for peer in self._cluster.peers():
            for run in self._held(peer):
                nodes.setdefault(run.task, set()).add(peer.name)
        modes = self._cluster.checks.state.modes
        for task, names in nodes.items():
            if len(names) > 1 and modes.get(task) is CoordinationMode.SEQUENTIAL:
                self._world.violated("G5", f"the sequential task {task} is on {sorted(names)}")

    @staticmethod
    def _held(peer: PeerProcess) -> Iterator[RunId]:
        """Runs that a peer with a lease believes to be on."""
        if peer.keeper.running():
            for run, local in peer.agent._runs.items():
                if local.phase in (Phase.STARTING, Phase.ON) and local.lease == peer.keeper.lease.epoch:
                    yield run

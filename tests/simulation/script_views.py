"""What a transcript can look at and expect: the newest state that any peer has, and what is on in truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from raftchaos.core.history import load
from raftchaos.core.state import ClusterState
from tests.simulation.cluster import Cluster


class Views:
    """Looks, never acts."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def _state(self) -> ClusterState:
        return self._cluster.checks.state.state

    def condition(self, text: str) -> Callable[[], bool]:
        """What `until` waits for."""
        match text.split():
            case ["leader"]:
                return lambda: self._cluster.leader() is not None
            case ["leader", name]:
                return lambda: (leader := self._cluster.leader()) is not None and leader.name == name
            case ["fault", task]:
                return lambda: any(f" {task}" in line for line in self._faults())
            case ["faults", "none"]:
                return lambda: not self._faults()
            case ["task", task, "ended"]:
                return lambda: task in self._state.finished
            case ["task", task, status]:
                return lambda: task in self._state.tasks and self._state.tasks[task].status == status
            case ["node", name, status]:
                return lambda: name in self._state.nodes and self._state.nodes[name].status == status
            case ["voter", name]:
                return lambda: f"{name} voter" in self._members()
            case ["gone", name]:
                return lambda: self._cluster.machines[name].main is None
            case _:
                raise ValueError(f"found `until {text}`")

    def expect(self, text: str) -> Iterator[str]:
        """`ok`, or what is there instead, which is a violation."""
        found = self._found(text.split())
        if found is None:
            yield "ok"
        else:
            self._cluster.world.violated("EXPECTED", f"{text}, found {found}")
            yield f"NOT SO: {found}"

    def _found(self, words: list[str]) -> str | None:
        """What is there instead of what is expected; None if it is as expected."""
        match words:
            case ["task", task, *wanted]:
                found = self._task(task)[: len(wanted)]
            case ["faults", *wanted]:
                found = self._faults() or ["none"]
                wanted = [" ".join(wanted)] if wanted != ["none"] else wanted
            case ["node", name, *wanted]:
                node = self._state.nodes.get(name)
                found = ["unknown"] if node is None else [str(node.status), *(["drained"] if node.drained else [])]
            case [("halted" | "running") as wanted_word]:
                wanted, found = [wanted_word], ["halted" if self._state.halted else "running"]
            case ["leader", *wanted]:
                leader = self._cluster.leader()
                found = ["none" if leader is None else leader.name]
            case _:
                raise ValueError(f"found `expect {' '.join(words)}`")
        return None if found == wanted else " ".join(found)

    def show(self, text: str) -> Iterator[str]:
        """As lines."""
        match text.split():
            case ["task", task]:
                yield " ".join(self._task(task))
                yield from self._runs(task)
            case ["nodes"]:
                for name, node in sorted(self._state.nodes.items()):
                    drained = " drained" if node.drained else ""
                    yield f"{name} {node.status}{drained} incarnation {node.incarnation}"
            case ["faults"]:
                yield from self._faults() or ["none"]
            case ["members"]:
                yield from self._members()
            case _:
                raise ValueError(f"found `show {text}`")

    def _members(self) -> list[str]:
        """As the leader has them."""
        leader = self._cluster.leader()
        if leader is None:
            return ["nobody leads"]
        present = leader.replica.raft.configuration
        roles = {**dict.fromkeys(present.voters, "voter"), **dict.fromkeys(present.observers, "observer")}
        return [f"{name} {role}" for name, role in sorted(roles.items())]

    def _task(self, task: str) -> list[str]:
        if task in self._state.finished:
            summary = load(self._state.finished[task])
            return [summary["status"], summary["verdict"], *summary["reason"].split()]
        if task in self._state.tasks:
            return [str(self._state.tasks[task].status), *self._state.tasks[task].reason.split()]
        return ["unknown"]

    def _runs(self, task: str) -> Iterator[str]:
        if task in self._state.finished:
            for run in load(self._state.finished[task])["runs"]:
                yield f"  {run['id']} on {run['node']}: {run['status']} {run['reason']}".rstrip()
        else:
            for run in self._state.runs_of(task):
                yield f"  {run.id} on {run.node}: {run.status} {run.reason}".rstrip()

    def _faults(self) -> list[str]:
        return [
            f"{name} {effect.run} {effect.target}"
            for name, machine in sorted(self._cluster.machines.items())
            for effect in sorted(machine.active(), key=lambda effect: effect.key)
        ]

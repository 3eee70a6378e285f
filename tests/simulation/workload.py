"""What users do: they submit, cancel, pause, halt, drain and read, at any peer, and try again when nobody answers.

Says what was answered to `HistoryCheck`; judges nothing itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from raftchaos.core.commands import SubmitTask, encode
from raftchaos.errors import Busy, NoQuorum, OutcomeUnknown, RaftchaosError, Refused
from raftchaos.model.resolved import (
    CoordinationMode,
    ResolvedFault,
    ResolvedOrchestration,
    ResolvedStep,
    SafetyLimits,
    TargetRule,
)
from raftchaos.model.tasks import TaskStatus
from tests.simulation.checks.history_check import Session
from tests.simulation.cluster import Cluster
from tests.simulation.effects import BURN, STRIKE
from tests.simulation.peer import PeerProcess

TRIES = 4
DEADLINE = 60.0
SESSIONS = 3
OPEN_TASKS = 5
UNANSWERED = (NoQuorum, OutcomeUnknown, Busy)

Done = Callable[[Any], None]


class Workload:
    """Users at work from `begin` until `end`."""

    def __init__(self, cluster: Cluster, *, every: float = 0.25, burden: float = 0.1) -> None:
        """One action every so many seconds; `burden` is the part of them that only makes the log grow."""
        self._cluster, self._world = cluster, cluster.world
        self._chance = cluster.world.chance("users")
        self._strikes = cluster.world.chance("strikes")
        self._every, self._burden = every, burden
        self._history = cluster.checks.history
        self._sessions = [Session(f"client {number}") for number in range(SESSIONS)]
        self._tasks = 0
        self._working = False
        self._count = 0

    def begin(self) -> None:
        """From now on."""
        self._working = True
        self._world.at(0.5, self._act)

    def end(self) -> None:
        """Nothing new is asked for; what was asked may still be answered."""
        self._working = False

    def _act(self) -> None:
        if not self._working:
            return
        self._world.at(self._chance.expovariate(1 / self._every), self._act)
        peers = list(self._cluster.peers())
        if not peers:
            return
        self._count += 1
        peer = self._chance.choice(peers)
        actions: list[tuple[float, Callable[[PeerProcess], None]]] = [
            (0.34 if self._open_tasks() < OPEN_TASKS else 0.0, self._submit),
            (0.20, self._read),
            (0.10, self._read_strongly),
            (0.06, self._cancel),
            (0.05, self._pause),
            (0.10, self._resume_task),
            (0.02, self._halt),
            (0.12 if self._cluster.checks.state.state.halted else 0.01, self._resume),
            (0.02, self._drain),
            (0.08 if self._drained() else 0.0, self._undrain),
            (self._burden, self._burden_log),
        ]
        weights = [weight for weight, _ in actions]
        self._chance.choices([action for _, action in actions], weights)[0](peer)

    # ---- asking

    def _ask(self, peer: PeerProcess, what: str, work: Callable[[PeerProcess], Awaitable[Any]], done: Done) -> None:
        """Ask a peer, and others if it does not answer; `done` gets the answer."""
        self._world.note("user", f"{what} at {peer.name}")
        self._try(peer, what, work, done, TRIES)

    def _try(self, peer: PeerProcess, what: str, work: Callable[..., Awaitable[Any]], done: Done, left: int) -> None:
        if peer.dead:
            self._again(what, work, done, left - 1)
            return

        async def call() -> None:
            try:
                answer = await work(peer)
            except UNANSWERED as error:
                self._world.note("user", f"{what}: {type(error).__name__} from {peer.name}")
                self._again(what, work, done, left - 1)
            except RaftchaosError as error:
                self._world.note("user", f"{what}: {error.spec.code} from {peer.name}: {error}"[:200])
            else:
                done(answer)

        peer.run(call())

    def _again(self, what: str, work: Callable[..., Awaitable[Any]], done: Done, left: int) -> None:
        peers = list(self._cluster.peers())
        if left and peers and self._working:
            peer = self._chance.choice(peers)
            self._world.at(self._chance.uniform(0.01, 0.5), lambda: self._try(peer, what, work, done, left))

    def _write(self, peer: PeerProcess, what: str, work: Callable[[PeerProcess], Awaitable[Any]]) -> None:
        asked = self._history.asked()

        def done(outcome: Any) -> None:
            self._world.note("user", f"{what}: done")
            self._history.written(asked, outcome.index, what)

        self._ask(peer, what, work, done)

    # ---- what they ask

    def _submit(self, peer: PeerProcess) -> None:
        self._tasks += 1
        task = f"t{self._tasks}"
        orchestration = self.orchestration(task)
        asked = self._history.asked()

        def done(outcome: Any) -> None:
            self._world.note("user", f"submit {task}: accepted")
            self._history.submitted(task)
            if not outcome.result.get("repeated") and not outcome.result.get("existing"):
                self._history.written(asked, outcome.index, f"submit {task}")

        self._ask(
            peer,
            f"submit {task} {orchestration.mode}",
            lambda p: p.services.submit(task, orchestration.to_dict()),
            done,
        )

    def orchestration(self, name: str) -> ResolvedOrchestration:
        """Any small experiment."""
        chance = self._chance
        nodes = self._cluster.checks.state.state.nodes
        good = [name for name in sorted(nodes) if nodes[name].schedulable]
        names = good if good and chance.random() < 0.9 else sorted(self._cluster.machines)
        if chance.random() < 0.5:
            names = sorted(chance.sample(names, chance.randint(1, len(names))))
        rule = TargetRule(names=tuple(names)) if chance.random() < 0.7 else TargetRule()
        mode = chance.choice(list(CoordinationMode))
        most = chance.choice((None, None, 1, 2, 3))
        if most is not None and mode is CoordinationMode.PARALLEL:
            most = max(most, len(names))
        steps = tuple(self._step(f"s{number}") for number in range(chance.choice((1, 1, 2, 3))))
        return ResolvedOrchestration(
            name, mode, rule, steps, SafetyLimits(max_nodes=most), DEADLINE, chance.randrange(1_000)
        )

    def _step(self, name: str) -> ResolvedStep:
        chance = self._chance
        faults = [ResolvedFault(BURN, {"part": chance.choice(("cpu", "disk"))})]
        if chance.random() < 0.6:
            faults.append(ResolvedFault("latency", {"proxy": [chance.choice(("api", "db"))], "latencyMs": 50.0}))
        if self._strikes.random() < 0.25:
            faults = [ResolvedFault(STRIKE, {}, True)]
        return ResolvedStep(
            name,
            "simulated",
            tuple(chance.sample(faults, chance.randint(1, len(faults)))),
            duration_seconds=chance.choice((0.2, 0.6, 1.5, 4.0, 8.0)),
            delay_before_seconds=chance.choice((0.0, 0.0, 0.3)),
            continue_on_failure=chance.random() < 0.5,
            retries=chance.choice((0, 1, 2)),
        )

    def _open_tasks(self) -> int:
        return len(self._cluster.checks.state.state.tasks)

    def _drained(self) -> list[str]:
        nodes = self._cluster.checks.state.state.nodes
        return [name for name in sorted(nodes) if nodes[name].drained]

    def _some_task(self, status: TaskStatus | None = None) -> str:
        """One that has not ended, if there is one."""
        tasks = self._cluster.checks.state.state.tasks
        fitting = [name for name in sorted(tasks) if status is None or tasks[name].status is status]
        return self._chance.choice(fitting) if fitting else f"t{self._chance.randint(1, self._tasks + 1)}"

    def _cancel(self, peer: PeerProcess) -> None:
        task = self._some_task()
        self._write(peer, f"cancel {task}", lambda p: p.services.cancel_task(task, "a user"))

    def _pause(self, peer: PeerProcess) -> None:
        task = self._some_task()
        self._write(peer, f"pause {task}", lambda p: p.services.pause_task(task))

    def _resume_task(self, peer: PeerProcess) -> None:
        task = self._some_task(TaskStatus.PAUSED)
        self._write(peer, f"resume {task}", lambda p: p.services.resume_task(task))

    def _drain(self, peer: PeerProcess) -> None:
        name = self._chance.choice(sorted(self._cluster.machines))
        self._write(peer, f"drain {name}", lambda p: p.services.drain_node(name, True))

    def _undrain(self, peer: PeerProcess) -> None:
        name = self._chance.choice(self._drained())
        self._write(peer, f"undrain {name}", lambda p: p.services.drain_node(name, False))

    def _halt(self, peer: PeerProcess) -> None:
        halt = f"h{self._count}"

        def done(answer: Any) -> None:
            self._world.note("user", f"halt {halt}: told {','.join(answer.told)}, logged {answer.logged}")

        self._cluster.checks.halts.obeyed(peer)
        self._ask(peer, f"halt {halt}", lambda p: p.services.halt("a user", halt), done)

    def _resume(self, peer: PeerProcess) -> None:
        def done(lifted: Any) -> None:
            self._world.note("user", f"resume: lifted {list(lifted)}")

        self._ask(peer, "resume", lambda p: p.services.resume(None), done)

    def _burden_log(self, peer: PeerProcess) -> None:
        """An entry of 10 bytes to 300 kB that `apply` refuses."""
        size = self._chance.choice((10, 10, 1_000, 30_000, 300_000))
        request = f"burden-{self._count}"
        command = encode(SubmitTask(request, {"no orchestration": "x" * size}))
        self._write(peer, f"burden of {size} bytes", lambda p: p.replica.propose(request, command))

    def _read_strongly(self, peer: PeerProcess) -> None:
        asked = self._history.asked()
        self._ask(
            peer,
            "strong read",
            lambda p: p.services.read_barrier(),
            lambda index: self._history.read_strongly(asked, index),
        )

    def _read(self, peer: PeerProcess) -> None:
        """As the API does for `?atLeast=`: the peer waits for the index, or says that it does not have it."""
        session = self._chance.choice(self._sessions)
        if peer.services.applied_index >= session.seen:
            self._history.read(session, peer.services.applied_index)


def remove(cluster: Cluster, peer: PeerProcess, name: str) -> Coroutine[Any, Any, None]:
    """Ask a peer to have a node removed; what comes of it is noted."""

    async def call() -> None:
        cluster.removed.add(name)
        try:
            await peer.services.remove_node(name)
        except Refused as error:
            cluster.removed.discard(name)
            cluster.world.note("user", f"remove {name}: refused: {error}")
        except RaftchaosError as error:
            cluster.world.note("user", f"remove {name}: {error}")
        else:
            cluster.world.note("user", f"remove {name}: done")

    return call()


def promote(cluster: Cluster, peer: PeerProcess, name: str) -> Coroutine[Any, Any, None]:
    """Ask a peer to let an observer vote; what comes of it is noted."""
    machine = cluster.machines[name]
    lives = machine.lives

    async def call() -> None:
        try:
            await peer.services.promote_node(name)
        except RaftchaosError as error:
            cluster.world.note("user", f"promote {name}: {error}")
        else:
            if machine.lives == lives:  # the one that was promoted, not one that took its place meanwhile
                machine.observer = False
            cluster.world.note("user", f"promote {name}: done")

    return call()

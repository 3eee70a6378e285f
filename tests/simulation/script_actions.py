"""What the commands of a transcript do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from raftchaos.errors import RaftchaosError
from raftchaos.model.resolved import (
    CoordinationMode,
    ResolvedFault,
    ResolvedOrchestration,
    ResolvedStep,
    SafetyLimits,
    TargetRule,
)
from tests.simulation.cluster import Cluster
from tests.simulation.effects import BURN, STRIKE
from tests.simulation.machine import Machine
from tests.simulation.nemesis import apart
from tests.simulation.peer import PeerProcess
from tests.simulation.workload import remove

MODES = {
    "parallel": CoordinationMode.PARALLEL,
    "sequential": CoordinationMode.SEQUENTIAL,
    "leader-assigned": CoordinationMode.LEADER_ASSIGNED,
    "peer-to-peer": CoordinationMode.PEER_TO_PEER,
}
PARAMETERS: dict[str, dict[str, Any]] = {
    BURN: {"part": "cpu"},
    STRIKE: {},
    "latency": {"proxy": ["api"], "latencyMs": 50.0},
    "http_error": {"proxy": ["db"], "statusCode": 503, "probability": 1.0},
}
DEADLINE = 120.0


class Actions:
    """Every command has a method of its name."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def do(self, word: str, rest: str) -> asyncio.Future[str] | None:
        """Do it; the answer, if somebody was asked."""
        method: Callable[[str], asyncio.Future[str] | None] = getattr(self, f"_{word.replace('-', '_')}")
        return method(rest)

    def ready(self) -> bool:
        """Every machine's peer is registered and holds a lease."""
        peers = list(self._cluster.peers())
        return len(peers) == len(self._cluster.machines) and all(
            peer.keeper.registered and peer.keeper.running() and peer.registration.registered for peer in peers
        )

    def hand_over(self, name: str) -> None:
        """Let this peer lead, so that a transcript can name the leader."""
        leader = self._cluster.leader()
        if leader is not None and leader.name != name:
            raft = leader.replica.raft
            raft.begin_hand_over(next(node for node in raft.others if node.name == name))

    def leads(self, name: str) -> bool:
        """It does, and everybody knows."""
        leader = self._cluster.leader()
        return leader is not None and leader.name == name and leader.leader.acting

    # ---- who

    def machine(self, name: str) -> Machine:
        """By its name, or `leader`, or `follower`."""
        leader = self._cluster.leader()
        if name == "leader":
            assert leader is not None, "nobody leads"
            return leader.machine
        if name == "follower":
            return next(peer.machine for peer in self._cluster.peers() if peer is not leader)
        return self._cluster.machines[name]

    def _peer(self, words: list[str]) -> PeerProcess:
        """Who is asked: `at=NAME`, else the leader, else anybody."""
        for word in words:
            if word.startswith("at="):
                main = self.machine(word.removeprefix("at=")).main
                assert main is not None, f"{word} does not run"
                return main
        return self._cluster.leader() or next(self._cluster.peers())

    def _ask(self, words: list[str], work: Callable[[PeerProcess], Awaitable[Any]]) -> asyncio.Future[str]:
        peer = self._peer(words)

        async def call() -> str:
            try:
                answer = await work(peer)
            except RaftchaosError as error:
                return f"{error.spec.code}: {error}"
            return f"ok{_told(answer)}"

        return peer.run(call())

    # ---- users

    def _submit(self, rest: str) -> asyncio.Future[str]:
        name, *words = rest.split()
        orchestration = parse(name, words)

        async def submit(peer: PeerProcess) -> Any:
            outcome = await peer.services.submit(name, orchestration.to_dict())
            self._cluster.checks.history.submitted(name)
            return outcome

        return self._ask(words, submit)

    def _cancel(self, rest: str) -> asyncio.Future[str]:
        task, *words = rest.split()
        return self._ask(words, lambda peer: peer.services.cancel_task(task, "a user"))

    def _pause(self, rest: str) -> asyncio.Future[str]:
        task, *words = rest.split()
        return self._ask(words, lambda peer: peer.services.pause_task(task))

    def _resume_task(self, rest: str) -> asyncio.Future[str]:
        task, *words = rest.split()
        return self._ask(words, lambda peer: peer.services.resume_task(task))

    def _halt(self, rest: str) -> asyncio.Future[str]:
        halt, *words = rest.split()
        self._cluster.checks.halts.obeyed(self._peer(words))
        return self._ask(words, lambda peer: peer.services.halt("a user", halt))

    def _resume(self, rest: str) -> asyncio.Future[str]:
        return self._ask(rest.split(), lambda peer: peer.services.resume(None))

    def _drain(self, rest: str) -> asyncio.Future[str]:
        return self._ask(rest.split(), lambda peer: peer.services.drain_node(rest.split()[0], True))

    def _undrain(self, rest: str) -> asyncio.Future[str]:
        return self._ask(rest.split(), lambda peer: peer.services.drain_node(rest.split()[0], False))

    def _read(self, rest: str) -> asyncio.Future[str]:
        async def look(peer: PeerProcess) -> str:
            await peer.services.read_barrier()
            return ""

        return self._ask([f"at={rest}"], look)

    def _remove(self, rest: str) -> None:
        name, *words = rest.split()
        peer = self._peer(words)
        peer.run(remove(self._cluster, peer, self.machine(name).name))

    def _promote(self, rest: str) -> asyncio.Future[str]:
        return self._ask(rest.split(), lambda peer: peer.services.promote_node(rest.split()[0]))

    # ---- trouble

    def _lead(self, rest: str) -> None:
        self.hand_over(rest)

    def _partition(self, rest: str) -> None:
        sides = [[self.machine(name).name for name in side.split()] for side in rest.split("|")]
        self._cluster.network.cut(apart(*sides))

    def _one_way(self, rest: str) -> None:
        one, other = ([self.machine(name).name for name in side.split()] for side in rest.split(">"))
        self._cluster.network.cut({(a, b) for a in one for b in other})

    def _heal(self, rest: str) -> None:
        self._cluster.network.cut(set())

    def _kill(self, rest: str) -> None:
        name, *what = rest.split()
        machine = self.machine(name)
        if "proxy" in what or "all" in what:
            machine.kill_proxy()
        if "reaper" in what or "all" in what:
            machine.kill_reaper()
        if not what or "main" in what or "all" in what:
            machine.kill_main()

    def _restart(self, rest: str) -> None:
        self.machine(rest).start_main()

    def _stop(self, rest: str) -> None:
        main = self.machine(rest).main
        assert main is not None
        main.stop()

    def _freeze(self, rest: str) -> None:
        self.machine(rest).freeze_main()

    def _thaw(self, rest: str) -> None:
        self.machine(rest).thaw_main()

    def _freeze_proxy(self, rest: str) -> None:
        self.machine(rest).freeze_proxy()

    def _thaw_proxy(self, rest: str) -> None:
        self.machine(rest).thaw_proxy()

    def _power_cut(self, rest: str) -> None:
        self.machine(rest).power_cut()

    def _join(self, rest: str) -> None:
        self.machine(rest).begin_anew()

    def _suspend(self, rest: str) -> None:
        self.machine(rest).freeze()

    def _wake(self, rest: str) -> None:
        self.machine(rest).thaw()

    def _fail_undo(self, rest: str) -> None:
        self.machine(rest).let_undo_fail(True)

    def _mend_undo(self, rest: str) -> None:
        self.machine(rest).let_undo_fail(False)

    def _fail_inject(self, rest: str) -> None:
        self.machine(rest).inject_fails = True

    def _mend_inject(self, rest: str) -> None:
        self.machine(rest).inject_fails = False

    def _trap(self, rest: str) -> None:
        name, moment, deed = rest.split()
        assert moment == "inject"
        machine = self.machine(name)
        machine.trap = machine.kill_main if deed == "kill" else machine.freeze_main


def parse(name: str, words: list[str]) -> ResolvedOrchestration:
    """`sequential burn:2 burn+latency:1.5 on=n1,n2 limit=1 …`."""
    options = dict(word.partition("=")[::2] for word in words if "=" in word)
    retries = int(options.get("retries", 1))
    steps = tuple(
        _step(f"step-{place}", word, retries, "continue" in words)
        for place, word in enumerate((word for word in words if ":" in word), start=1)
    )
    count = int(options["count"]) if "count" in options else None
    percent = int(options["percent"]) if "percent" in options else None
    names = tuple(options["on"].split(",")) if "on" in options else ()
    return ResolvedOrchestration(
        name,
        next(MODES[word] for word in words if word in MODES),
        TargetRule(names=names, count=count, percent=percent),
        steps,
        SafetyLimits(max_nodes=int(options["limit"]) if "limit" in options else None),
        DEADLINE,
        1,
    )


def _step(name: str, word: str, retries: int, goes_on: bool) -> ResolvedStep:
    kinds, _, seconds = word.partition(":")
    faults = tuple(ResolvedFault(kind, PARAMETERS[kind], kind == STRIKE) for kind in kinds.split("+"))
    return ResolvedStep(name, kinds, faults, float(seconds), continue_on_failure=goes_on, retries=retries)


def _told(answer: Any) -> str:
    result = getattr(answer, "result", None)
    if isinstance(result, dict):
        told = {key: value for key, value in result.items() if key not in ("ok", "task", "maxNodes")}
        return "".join(f" {key}={value}" for key, value in told.items())
    if hasattr(answer, "told"):
        return f" told={','.join(answer.told)} logged={answer.logged}"
    return f" {answer}" if answer else ""

"""What the clients ask for: documents and operations, drawn from the seed."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from tests.system.harness import orchestration
from tests.system.torture.asking import Answer, ask
from tests.system.torture.history import ABSENT, FAIL, FINAL, OK, History, Operation, now
from tests.system.torture.machines import Machine
from tests.system.torture.traffic import FAULT_MARK, Worker

MODES = ("sequential", "sequential", "parallel", "leaderAssigned", "peerToPeer")
"""Sequential twice: so that there is always one whose node can be cut off."""
OPERATIONS = {"submit": 30, "read": 30, "strong": 30, "cancel": 6}
"""How often a client does what."""
DEADLINE_SECONDS = 90
OPEN_TASKS = 2
"""Tasks that a client has open at once; more would only wait for one another."""
AT_HOME = 0.7
"""The part of the requests that go to the peer on the client's own side."""
SUBMIT_TRIES = 4
SHORT, LONG, LONG_PART = (1.0, 3.0), (8.0, 14.0), 0.2
"""Seconds that a fault lasts: mostly little, so that much happens; a part of them longer than L + R."""


def document(rng: random.Random, mode: str, task: str, nodes: int) -> dict[str, Any]:
    """A document of this mode whose faults say which task they belong to."""
    proxy = "queue" if mode == "sequential" else "web"
    steps = []
    for number in range(rng.choice((1, 1, 2))):
        step: dict[str, Any] = {
            "name": f"step-{number}",
            "scenario": "http_error",
            "durationSeconds": round(rng.uniform(*(LONG if rng.random() < LONG_PART else SHORT)), 1),
            "delayBeforeSeconds": rng.choice((0, 0, 0.5)),
            "continueOnFailure": mode == "sequential" or rng.random() < 0.6,  # so that the next node is next
            "parameters": {"proxy": proxy, "statusCode": 503, "body": FAULT_MARK + task},
        }
        if proxy == "web" and rng.random() < 0.25:
            step |= {"scenario": "latency", "parameters": {"proxy": proxy, "latencyMs": rng.choice((80, 300))}}
        steps.append(step)
    count = {"sequential": rng.choice((2, 3)), "parallel": rng.choice((2, nodes)), "peerToPeer": 2}.get(mode, nodes)
    return orchestration(mode, steps, {"count": count}, safety={"deadlineSeconds": DEADLINE_SECONDS})


class Board:
    """What the clients tell one another: the ids of the newest tasks."""

    def __init__(self) -> None:
        self._tasks: deque[str] = deque(maxlen=12)
        self._lock = threading.Lock()

    def add(self, task: str) -> None:
        """A task may exist from now on."""
        with self._lock:
            self._tasks.append(task)

    def pick(self, rng: random.Random) -> str:
        """One of them, or nothing."""
        with self._lock:
            return rng.choice(list(self._tasks)) if self._tasks else ""


class Client:
    """A client on the side of one machine: it does one operation a turn, and remembers what it has seen."""

    def __init__(
        self, machine: Machine, machines: Sequence[Machine], seed: int, history: History, board: Board
    ) -> None:
        self._name = f"client-{machine.number}"
        self._home, self._machines = machine, machines
        self._rng = random.Random(f"torture/{seed}/{self._name}")
        self._history, self._board = history, board
        self._seen = 0
        self._open: list[str] = []
        self._count = 0

    def worker(self) -> Worker:
        """Its thread."""
        return Worker(self._home, self.turn, lambda: self._rng.uniform(0.2, 0.8), "client at")

    def turn(self) -> None:
        """One operation."""
        kind = self._rng.choices(list(OPERATIONS), list(OPERATIONS.values()))[0]
        if kind == "submit":
            if len(self._open) < OPEN_TASKS:
                self._submit()
                return
            kind = "read"
        own = kind == "cancel" or self._rng.random() < 0.5
        task = self._rng.choice(self._open) if own and self._open else self._board.pick(self._rng)
        if task:
            self._about(kind, task)

    def _peer(self) -> Machine:
        return self._home if self._rng.random() < AT_HOME else self._rng.choice(self._machines)

    def _submit(self) -> None:
        """With one id, until somebody knows whether it was accepted, as users are told to do."""
        self._count += 1
        task = f"{self._name}-{self._count}"
        mode = self._rng.choice(MODES)
        if mode == "sequential":
            self._history.sequential.add(task)
        body = {"id": task, "document": document(self._rng, mode, task, len(self._machines))}
        self._board.add(task)
        for _ in range(SUBMIT_TRIES):
            done = self._operate("submit", task, "POST", "/tasks", body)
            if done.outcome == OK:
                self._open.append(task)
                return
            if done.outcome == FAIL:
                return

    def _about(self, kind: str, task: str) -> None:
        if kind == "cancel":
            self._operate(kind, task, "POST", f"/tasks/{task}/cancel", {"reason": "changed my mind"})
            return
        query = "consistency=strong" if kind == "strong" else f"atLeast={self._seen}"
        done = self._operate(kind, task, "GET", f"/tasks/{task}?{query}")
        if done.outcome == OK and (done.status in FINAL or done.status == ABSENT) and task in self._open:
            self._open.remove(task)

    def _operate(self, kind: str, task: str, method: str, path: str, body: Any = None) -> Operation:
        peer = self._peer()
        done = Operation(self._name, peer.name, kind, task, now(), least=self._seen if kind == "read" else 0)
        answer = ask(peer.address, method, path, body)
        done.completed = now()
        fill(done, answer)
        if done.outcome == OK:
            self._seen = max(self._seen, done.index)
        self._history.operations.append(done)
        return done


def fill(operation: Operation, answer: Answer) -> None:
    """What the answer says about the operation. That a task is not there is the answer to a read."""
    absent = answer.code == "not-found" and operation.kind in ("read", "strong")
    operation.outcome = OK if absent else answer.outcome
    operation.problem = answer.problem
    operation.status = ABSENT if absent else str(answer.body.get("status", "")) if answer.outcome == OK else ""
    operation.index = int(answer.body.get("index", 0)) if answer.outcome == OK else 0
    operation.stale = bool(answer.body.get("stale", False))


def clients(machines: Sequence[Machine], seed: int, history: History) -> list[Worker]:
    """One client on each side."""
    board = Board()
    return [Client(machine, machines, seed, history, board).worker() for machine in machines]

"""Carries a schedule out, writes down what it did and when, and takes everything back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from tests.system.torture.asking import Answer, ask
from tests.system.torture.history import OK, HaltOrder, History, Span, now
from tests.system.torture.machines import Machine
from tests.system.torture.network import Network, inside
from tests.system.torture.schedule import BUSY, LEADER, Disturbance, Schedule

CUTTING = ("kill main", "kill all", "freeze main", "freeze all", "tear log")
"""What leaves the main process of a node unable to do anything."""
LEADER_PATIENCE = 2.0
RESUME_RETRY = 0.5
DYING_SECONDS = 3.0
"""A peer that met a full disk at the last moment may take so long to end."""


class Nemesis:
    """One thread for each track of the schedule."""

    def __init__(self, schedule: Schedule, machines: Sequence[Machine], net: Network, history: History) -> None:
        self._schedule, self._net, self._history = schedule, net, history
        self._machines = {machine.number: machine for machine in machines}
        self._began = now()
        self._hurry = threading.Event()
        self._lock = threading.Lock()
        self._blocked: dict[int, set[int]] = {}
        self.log: list[str] = []
        self.errors: list[BaseException] = []
        tracks = (schedule.network, schedule.harm, schedule.halts)
        self._threads = [threading.Thread(target=self._track, args=(track,), daemon=True) for track in tracks]

    def start(self) -> None:
        """Begin now."""
        self._began = now()
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until everything was done and taken back."""
        for thread in self._threads:
            thread.join(self._schedule.seconds + 120)
            if thread.is_alive():
                self.errors.append(AssertionError("the nemesis hangs"))

    def close(self) -> None:
        """Do nothing new; what is on is taken back now."""
        self._hurry.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(60)

    def say(self, text: str) -> None:
        """Write a line with the time."""
        self.log.append(f"{now():10.2f}  {now() - self._began:7.2f}  {text}")

    # ---- one track

    def _track(self, track: Sequence[Disturbance]) -> None:
        try:
            for item in track:
                self._hurry.wait(max(0.0, self._began + item.at - now()))
                if self._hurry.is_set():
                    return
                self._disturb(item)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.say(f"the nemesis failed: {error!r}")
            self.errors.append(error)

    def _disturb(self, item: Disturbance) -> None:
        nodes = tuple(self._meant(node) for node in item.nodes)
        if item.kind == "halt":
            self._halt(item, nodes[0])
        elif item in self._schedule.network:
            self._partition(item, nodes)
        else:
            self._harm(item, self._machines[nodes[0]])

    def _meant(self, node: int) -> int:
        if node == LEADER:
            return self.leader()
        return self.busy() if node == BUSY else node

    def busy(self) -> int:
        """The number of a node that a sequential task's fault is on, or was on last."""
        for sample in reversed(self._history.samples):
            if sample.task in self._history.sequential:
                return next(number for number, machine in self._machines.items() if machine.name == sample.node)
        return next(iter(self._machines))

    def leader(self) -> int:
        """The number of the node that leads, or of any node if none is found in time."""
        until = now() + LEADER_PATIENCE
        while now() < until:
            found = self._leads()
            if found is not None:
                return found
            self._hurry.wait(0.1)
        self.say("found no leader, took the first node")
        return next(iter(self._machines))

    def _leads(self) -> int | None:
        """Of all that say that they lead the one with the highest term."""
        leading: dict[int, int] = {}
        for machine in self._machines.values():
            found = _asked_at(machine, "GET", "/status", timeout=0.5).body
            if found.get("role") == "leader":
                leading[found["term"]] = machine.number
        return leading[max(leading)] if leading else None

    # ---- the network

    def _partition(self, item: Disturbance, nodes: Sequence[int]) -> None:
        deaf = hears_not(item.kind, nodes, tuple(self._machines))
        for receiver, senders in deaf.items():
            self._net.block(receiver, senders)
        began = now()
        self.say(f"begin {item.kind}: " + "; ".join(f"{a} does not hear {sorted(b)}" for a, b in sorted(deaf.items())))
        self._hurry.wait(item.lasts)
        for number in minority(deaf, tuple(self._machines)):
            self._history.cut.append(Span(self._machines[number].name, began, now(), item.kind))
        for receiver in deaf:
            self._net.unblock(receiver)
        self.say(f"end {item.kind}")

    # ---- processes, disks, clocks

    def _harm(self, item: Disturbance, victim: Machine) -> None:
        begin: Mapping[str, Callable[[], object]] = {
            "kill main": victim.kill,
            "kill all": victim.kill_all,
            "tear log": victim.kill_all,
            "freeze main": victim.freeze,
            "freeze all": victim.freeze_all,
            "fill disk": victim.fill_disk,
            "step clock": lambda: victim.set_clock(int(item.amount)),
        }
        begin[item.kind]()
        began = now()
        self.say(f"begin {item.kind} {item.amount or ''} on {victim.name}")
        self._hurry.wait(item.lasts)
        if item.kind in CUTTING:
            self._history.cut.append(Span(victim.name, began, now(), item.kind))
        self._end_harm(item, victim)
        self.say(f"end {item.kind} on {victim.name}")

    def _end_harm(self, item: Disturbance, victim: Machine) -> None:
        if item.kind == "tear log":
            self.say(f"tore the Raft log of {victim.name}: {victim.tear_log(item.amount)}")
        elif item.kind == "fill disk":
            self.say(f"{victim.name} is {'alive' if victim.running else 'dead'} with a full disk")
            victim.free_disk()
            until = now() + DYING_SECONDS
            while victim.running and now() < until:
                self._hurry.wait(0.1)
        elif item.kind == "step clock":
            victim.set_clock(0)
        elif item.kind.startswith("freeze"):
            victim.thaw()
        if not victim.running:
            victim.start()

    # ---- halts

    def _halt(self, item: Disturbance, number: int) -> None:
        machine = self._machines[number]
        order = HaltOrder(f"halt-{item.at:g}", machine.name, now())
        self._history.halts.append(order)
        answer = _asked_at(machine, "POST", "/halt", {"id": order.id, "reason": "torture"})
        order.answered = now()
        order.logged = answer.outcome == OK and bool(answer.body["logged"])
        self.say(f"halted at {machine.name}: {answer.problem or f'logged={order.logged}'}")
        self._hurry.wait(item.lasts)
        order.resumed = now()
        while not self._resume(order) and not self._hurry.is_set():
            self._hurry.wait(RESUME_RETRY)
        self.say("resumed")

    def _resume(self, order: HaltOrder) -> bool:
        """Whether some peer lifted it, or says that nothing is to be lifted: the order may never have been heard."""
        answers = (_asked_at(machine, "POST", "/resume", {"halts": [order.id]}) for machine in self._machines.values())
        return any(0 < answer.status < 500 for answer in answers)


def _asked_at(machine: Machine, method: str, path: str, body: object = None, timeout: float = 4.0) -> Answer:
    """An answer to a question from the machine's own namespace: a partition does not keep anybody away."""
    with inside(machine.namespace):
        return ask(machine.address, method, path, body, timeout=timeout)


def hears_not(kind: str, nodes: Sequence[int], every: Sequence[int]) -> dict[int, set[int]]:
    """For each node that is deaf to some others: to which."""
    if kind == "one way":
        return {nodes[0]: {nodes[1]}}
    if kind == "bridged halves":
        rest = list(nodes[1:])
        sides = [set(rest[: len(rest) // 2]), set(rest[len(rest) // 2 :])]
    else:
        sides = [set(nodes), set(every) - set(nodes)]
    return {node: sides[1 - place] for place, side in enumerate(sides) for node in side}


def minority(deaf: Mapping[int, set[int]], every: Sequence[int]) -> list[int]:
    """The nodes that exchange packets with too few others to be part of any majority."""
    found = []
    for node in every:
        heard = {
            other for other in every if other not in deaf.get(node, set()) and node not in deaf.get(other, set())
        }  # itself included
        if len(heard) <= len(every) // 2:
            found.append(node)
    return found

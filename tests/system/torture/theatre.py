"""Everything that a torture needs, set up, and taken down whatever happens."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.system.torture.asking import Answer, ask
from tests.system.torture.history import ABSENT, FINAL, History, now
from tests.system.torture.machines import PROXIES, Machine, build_wall_clock
from tests.system.torture.network import Network, inside
from tests.system.torture.traffic import Services, sample, sighting

PEERS = 5
START_SECONDS = 60.0
HEAL_SECONDS = 60.0
END_SECONDS = 150.0
"""Longer than the deadline of a task."""
STOP_SECONDS = 4.5
LOOK = 0.25
PROMPT = 0.5  # seconds that a request through a clean proxy may take
LOG_SHOWN = 3_000
PARTS = {
    "proxy": "raftchaos.proxy",
    "reaper": "raftchaos.faults.reaper",
    "analyst": "raftchaos.analytics.analyst",
    "main": "cli.main peer",
}
"""The processes of a peer, by what their command lines say."""
ALL_KINDS = sorted(PARTS)


class Theatre:
    """Five machines with their peers, and services behind their proxies. Use as a context manager."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="raftchaos-torture-"))
        self.machines: list[Machine] = []
        self.history = History()
        self.kept = False
        """Whether the files stay for somebody to look at."""
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Theatre:
        try:
            self.network = Network(PEERS)
            self._closing.callback(self.network.close)
            library = build_wall_clock(self.root)
            for number in self.network.numbers:
                machine = Machine(number, self.network, self.root, library)
                self._closing.callback(machine.close)
                self.machines.append(machine)
            self._closing.callback(Services(self.machines).close)
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        if not self.kept:
            shutil.rmtree(self.root)

    def _start(self) -> None:
        first, *others = self.machines
        first.start()
        self.wait(lambda: self._ready(first), START_SECONDS, f"{first.name} is ready")
        for machine in others:
            machine.start(first.address)
        self.wait(self.all_ready, START_SECONDS, "all peers are ready and active")

    # ---- asking from outside, past every partition

    def ask(self, machine: Machine, method: str, path: str, body: Any = None) -> Answer:
        """A request to the machine's peer from its own namespace."""
        with inside(machine.namespace):
            return ask(machine.address, method, path, body, timeout=5)

    def wait(self, condition: Callable[[], str], seconds: float, what: str) -> None:
        """Until the condition has nothing to complain about. Fails with its last complaint."""
        until, complaint = now() + seconds, "it was never looked at"
        while now() < until:
            complaint = condition()
            if not complaint:
                return
            time.sleep(LOOK)
        raise AssertionError(f"waited {seconds:g} s until {what}: {complaint}\n{self.logs()}")

    def _ready(self, machine: Machine) -> str:
        if not machine.running:
            return f"{machine.name} has ended"
        answer = self.ask(machine, "GET", "/status")
        if not answer.body.get("ready"):
            return f"{machine.name}: {answer.body.get('reasons', answer.problem)}"
        quorum = answer.body["quorum"]
        missing = set(quorum["voters"]) - set(quorum["reachable"])
        return f"{machine.name} is not connected to {sorted(missing)}" if missing else ""

    def all_ready(self) -> str:
        """What is missing to all peers being ready and all nodes being active."""
        for machine in self.machines:
            complaint = self._ready(machine)
            if complaint:
                return complaint
        answer = self.ask(self.machines[0], "GET", "/nodes?consistency=strong")
        nodes = {node["name"]: node["status"] for node in answer.body.get("nodes", [])}
        lacking = [m.name for m in self.machines if nodes.get(m.name) != "active"]
        return f"{lacking} are not active: {nodes}" if lacking else ""

    # ---- the end

    def heal(self) -> None:
        """Wait until everybody is back, lift every halt."""
        self.wait(self.all_ready, HEAL_SECONDS, "all peers are ready and active after the healing")
        self.wait(self._resumed, HEAL_SECONDS, "no peer is halted")

    def _resumed(self) -> str:
        halted = []
        for machine in self.machines:
            answer = self.ask(machine, "GET", "/status")
            if answer.body.get("halted", True):
                halted.append(machine.name)
                self.ask(machine, "POST", "/resume", {})
        return f"halted: {halted}" if halted else ""

    def tasks(self) -> set[str]:
        """All tasks that anybody has tried to submit."""
        return {one.task for one in self.history.operations}

    def settle(self) -> dict[str, str]:
        """Wait until every task has ended and every node is clean; the status of each task."""
        final: dict[str, str] = {}

        def open_tasks() -> str:
            for task in sorted(self.tasks() - final.keys()):
                status = self._status_of(task)
                if status in (*FINAL, ABSENT):
                    final[task] = status
                else:
                    return f"{task} is {status or 'not to be had'}"
            return ""

        self.wait(open_tasks, END_SECONDS, "every task has ended (G4)")
        self.wait(self._unclean, 15, "nothing is left on any node")
        self.wait(self._unequal, 15, "all peers show the same state at the same index (G8)")
        return final

    def _status_of(self, task: str) -> str:
        answer = self.ask(self.machines[0], "GET", f"/tasks/{task}?consistency=strong")
        return ABSENT if answer.code == "not-found" else str(answer.body.get("status", ""))

    def _unclean(self) -> str:
        found: list[str] = []
        for machine in self.machines:
            status = self.ask(machine, "GET", "/status").body
            found += [f"{machine.name} has {status['activeFaults']}"] if status.get("activeFaults") else []
            found += [f"{machine.name}: {line}" for line in self.network.left_behind(machine.number)]
            kinds = sorted(kind_of(process.cmdline()) for process in machine.processes())
            if sorted({*kinds, "analyst"}) != ALL_KINDS or len(kinds) > len(ALL_KINDS):  # an analyst comes with traffic
                found.append(f"{machine.name} runs {kinds}")
            for proxy in PROXIES:
                with inside(machine.namespace):
                    seen = sample(machine.name, proxy)
                if seen.result != "ok" or seen.end - seen.start > PROMPT:
                    found.append(f"{proxy} of {machine.name}: {seen.result} after {seen.end - seen.start:.2f} s")
        return "; ".join(found)

    def _unequal(self) -> str:
        looks = []
        for machine in self.machines:
            answer = self.ask(machine, "GET", "/status")
            if answer.status != 200:
                return answer.problem
            looks.append(sighting(machine.name, answer.body))
        self.history.sightings += looks
        return "" if len({look.index for look in looks}) == 1 else f"indexes {[look.index for look in looks]}"

    def stop(self) -> list[str]:
        """End every peer as a user does; what is left then."""
        found = []
        for machine in self.machines:
            began, code = now(), machine.stop()
            if code or now() - began > STOP_SECONDS:
                found.append(f"{machine.name} ended with the exit code {code} after {now() - began:.1f} s")
        for machine in self.machines:
            until = now() + STOP_SECONDS
            while machine.processes() and now() < until:
                time.sleep(LOOK)
            found += [f"{machine.name} left {process.cmdline()}" for process in machine.processes()]
            found += [f"{machine.name} left {line}" for line in self.network.left_behind(machine.number)]
        return found

    # ---- the logs of the peers

    def injections(self) -> dict[str, int]:
        """How often each run was injected, over all nodes and their starts."""
        found: dict[str, int] = {}
        for machine in self.machines:
            for line in machine.output().splitlines():
                _, injected, rest = line.partition(" injected run=")
                if injected:
                    run = rest.split()[0]
                    found[run] = found.get(run, 0) + 1
        return found

    def defects(self) -> list[str]:
        """What no peer may ever say."""
        return [
            f"{machine.name} says: {line}"
            for machine in self.machines
            for line in machine.output().splitlines()
            if "Traceback" in line or "a defect of raftchaos" in line or "is damaged" in line
        ]

    def logs(self) -> str:
        """The end of what each peer has said."""
        return "\n".join(
            f"--- {machine.name}: {machine.log}\n{machine.output()[-LOG_SHOWN:]}" for machine in self.machines
        )


def kind_of(words: list[str]) -> str:
    """Which process of a peer this is."""
    line = " ".join(words)
    for kind, part in PARTS.items():
        if part in line:
            return kind
    return line

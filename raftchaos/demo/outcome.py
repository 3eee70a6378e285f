"""What the demonstration found, and whether it is what was promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raftchaos.demo.checks import ProxyCheck
from raftchaos.demo.experiment import CALM, STEPS, node_rows, step_span
from raftchaos.demo.failover import Failover
from raftchaos.demo.load import Sample
from raftchaos.demo.statistics import StepWindows, Summary, step_windows, summarize

Json = dict[str, Any]
LEFT_BEHIND = 6  # exit code: something was not recovered
FAILED = 1


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """One step: the load before, during and after it, and what each node did."""

    name: str
    scenario: str
    before: Summary
    during: Summary
    after: Summary
    nodes: list[Json]

    @property
    def touched(self) -> int:
        """How many requests or connections its faults changed, as far as it was counted."""
        return sum(node["touched"] or 0 for node in self.nodes)

    def to_dict(self) -> Json:
        """As data."""
        return {
            "name": self.name,
            "scenario": self.scenario,
            "before": self.before.to_dict(),
            "during": self.during.to_dict(),
            "after": self.after.to_dict(),
            "nodes": self.nodes,
            "touched": self.touched,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """The whole demonstration."""

    task: Json
    steps: list[StepOutcome]
    failover: Failover
    restarted_seconds: float
    checks: list[ProxyCheck]
    left_processes: list[str]
    seconds: float

    def problems(self) -> list[str]:
        """What is not as it was promised; empty if all is."""
        found = []
        if self.task["status"] != "completed" or self.task["verdict"] != "passed":
            found.append(f"the task ended {self.task['status']} with the verdict {self.task['verdict']}")
        if len(self.steps) != len(STEPS):
            found.append(f"{len(self.steps)} of {len(STEPS)} steps took place")
        found += [f"the step {step.name!r} touched no request" for step in self.steps if not step.touched]
        if self.failover.fault_off_seconds is None:
            found.append(f"the fault of {self.failover.killed} stayed on after it was killed")
        found += [f"{check.node}: a fault may be left behind" for check in self.checks if not check.clean]
        found += [f"a process was left over: {process}" for process in self.left_processes]
        return found

    @property
    def exit_code(self) -> int:
        """0 if everything was as promised."""
        if not all(check.clean for check in self.checks) or self.failover.fault_off_seconds is None:
            return LEFT_BEHIND
        return FAILED if self.problems() else 0

    def to_dict(self) -> Json:
        """As data: the same that the table shows."""
        return {
            "ok": not self.problems(),
            "problems": self.problems(),
            "task": {key: self.task[key] for key in ("id", "mode", "status", "verdict", "reason", "targets")},
            "steps": [step.to_dict() for step in self.steps],
            "failover": {**self.failover.to_dict(), "restartedSeconds": round(self.restarted_seconds, 3)},
            "noFaultLeftBehind": {
                "ok": all(check.clean for check in self.checks),
                "proxies": [check.to_dict() for check in self.checks],
            },
            "processesLeft": self.left_processes,
            "seconds": round(self.seconds, 1),
        }


def step_outcomes(task: Json, samples: Sequence[Sample]) -> list[StepOutcome]:
    """The load around each step that took place."""
    spans = {step: span for step in range(len(STEPS)) if (span := step_span(task, step)) is not None}
    windows: dict[int, StepWindows] = dict(zip(spans, step_windows(list(spans.values()), CALM), strict=True))
    return [
        StepOutcome(
            name=STEPS[step][0],
            scenario=STEPS[step][1],
            before=summarize(samples, window.before),
            during=summarize(samples, window.during),
            after=summarize(samples, window.after),
            nodes=node_rows(task, step),
        )
        for step, window in windows.items()
    ]

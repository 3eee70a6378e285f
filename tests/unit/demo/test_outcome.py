"""The experiment of the demonstration, and how its outcome is judged."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from raftchaos.demo.checks import ProxyCheck
from raftchaos.demo.experiment import CALM, STEPS, all_active, document, step_span
from raftchaos.demo.failover import Failover
from raftchaos.demo.load import Sample
from raftchaos.demo.outcome import Outcome, step_outcomes
from raftchaos.model.loading import parse_document, resolve

BEGAN = 1_700_000_000.0
NODES = ("node-1", "node-2", "node-3")


def ended_run(step: int, node: str, **more: Any) -> dict[str, Any]:
    start = BEGAN + step * 8
    return {
        "id": f"demo/1/{step}/{node}/1", "node": node, "status": "succeeded", "reason": "",
        "activeMs": start * 1000, "endedMs": (start + 5) * 1000, "durationSeconds": 5.0,
        "effects": [{"touched": 10}], **more,
    }  # fmt: skip


def ended_task() -> dict[str, Any]:
    steps = [
        {"name": name, "scenario": scenario, "runs": [ended_run(step, node) for node in NODES]}
        for step, (name, scenario, _) in enumerate(STEPS)
    ]
    return {
        "id": "demo", "mode": "parallel", "status": "completed", "verdict": "passed", "reason": "",
        "targets": list(NODES), "steps": steps,
    }  # fmt: skip


def outcome(**more: Any) -> Outcome:
    samples = [Sample(BEGAN - 5 + n / 10, 0.002, 200) for n in range(400)]
    task = ended_task()
    fields: dict[str, Any] = {
        "task": task,
        "steps": step_outcomes(task, samples),
        "failover": Failover("node-1", "node-2", 1, 2, 0.05, 0.03),
        "restarted_seconds": 1.5,
        "checks": [ProxyCheck(node, 1, (), (), 0, 0.002) for node in NODES],
        "left_processes": [],
        "seconds": 33.0,
    }
    return Outcome(**{**fields, **more})


def test_the_experiment_is_a_valid_document() -> None:
    (resolved,) = resolve([parse_document(document(5.0), "demo")])
    assert len(resolved.steps) == len(STEPS)
    assert all(step.continue_on_failure for step in resolved.steps)


def test_a_step_lasts_from_its_first_injection_to_its_last_end() -> None:
    task = ended_task()
    # the end of a run whose peer was killed is known late
    task["steps"][1]["runs"][0] |= {"status": "interrupted", "endedMs": (BEGAN + 100) * 1000, "effects": []}
    assert step_span(task, 1) == (BEGAN + 8, BEGAN + 13)
    for run in task["steps"][1]["runs"]:
        run["status"] = "interrupted"
    assert step_span(task, 1) == (BEGAN + 8, BEGAN + 13)  # none came to its end: the first that was over
    for run in task["steps"][1]["runs"]:
        run["activeMs"] = 0
    assert step_span(task, 1) is None


def test_all_active() -> None:
    task = ended_task()
    assert not all_active(task, 1, 3)
    for run in task["steps"][1]["runs"]:
        run["status"] = "active"
    assert all_active(task, 1, 3)
    assert not all_active({}, 1, 3)


def test_as_promised() -> None:
    found = outcome()
    assert found.problems() == []
    assert found.exit_code == 0
    data = found.to_dict()
    assert data["ok"] is True
    assert [step["touched"] for step in data["steps"]] == [30, 30, 30]
    first = data["steps"][0]
    assert first["before"]["ratePerSecond"] == 10
    assert 10 * CALM - 3 <= first["before"]["requests"] <= 10 * CALM
    assert first["during"]["requests"] == 50
    assert first["during"]["ratePerSecond"] == 10
    assert data["failover"]["withoutLeaderSeconds"] == 0.05


@pytest.mark.parametrize(
    "check",
    [
        ProxyCheck("node-1", 1, ("run",), (), 0, 0.002),
        ProxyCheck("node-1", 1, (), ("run",), 0, 0.002),
        ProxyCheck("node-1", 1, (), (), 1, 0.002),
        ProxyCheck("node-1", 1, (), (), 0, 0.3),
        ProxyCheck("node-1", None, (), (), 0, 0.002, "it does not answer"),
    ],
)
def test_a_trace_of_a_fault_ends_with_six(check: ProxyCheck) -> None:
    found = outcome(checks=[check])
    assert found.exit_code == 6
    assert found.to_dict()["noFaultLeftBehind"]["ok"] is False


def test_a_fault_that_outlives_its_killed_peer_ends_with_six() -> None:
    found = outcome(failover=Failover("node-1", "node-2", 1, 2, 0.05, None))
    assert found.exit_code == 6
    assert "stayed on" in found.problems()[0]


def test_what_is_not_as_promised_is_told() -> None:
    failed = {**ended_task(), "status": "failed", "verdict": "failed"}
    assert outcome(task=failed).exit_code == 1
    assert outcome(left_processes=["process 7 still runs"]).exit_code == 1
    steps = outcome().steps
    nothing = dataclasses.replace(steps[0], nodes=[{**node, "touched": None} for node in steps[0].nodes])
    assert "slow payments" in outcome(steps=[nothing, *steps[1:]]).problems()[0]
    assert outcome(steps=steps[:2]).exit_code == 1

"""The experiment of the demonstration, and what its task says about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

PROXY = "payments"
CALM = 3.0  # seconds without a fault before each step, to compare with

STEPS: tuple[tuple[str, str, Json], ...] = (
    ("slow payments", "latency", {"latencyMs": 200, "jitterMs": 50}),
    ("failing payments", "http_error", {"statusCode": 503, "probability": 0.5}),
    ("cut connections", "reset_peer", {"probability": 0.5}),
)
KILL_IN_STEP = 1  # index of the step in which the leader is killed


def document(step_seconds: float) -> Json:
    """The orchestration: every node breaks its own proxy, one kind of fault after another."""
    return {
        "apiVersion": "raftchaos.io/v1",
        "kind": "ChaosOrchestration",
        "metadata": {"name": "demo"},
        "spec": {
            "description": "Does checkout survive slow, failing and cut payments, and the experiment its leader?",
            "coordinationMode": "parallel",
            "steps": [
                {
                    "name": name,
                    "scenario": scenario,
                    "durationSeconds": step_seconds,
                    "delayBeforeSeconds": CALM,
                    "continueOnFailure": True,
                    "parameters": {"proxy": PROXY, **parameters},
                }
                for name, scenario, parameters in STEPS
            ],
            "safety": {"deadlineSeconds": 120},
        },
    }


def all_active(view: Json, step: int, count: int) -> bool:
    """Whether `count` nodes have their fault of this step on."""
    return len([run for run in _runs(view, step) if run["status"] == "active"]) >= count


def step_span(view: Json, step: int) -> tuple[float, float] | None:
    """From when to when the faults of a step were on, in wall-clock seconds; None if none was.

    The end of a run whose peer was killed is known late, so the others tell when the step ended.
    """
    runs = [run for run in _runs(view, step) if run["activeMs"]]
    if not runs:
        return None
    start = min(run["activeMs"] for run in runs)
    ended = [run["endedMs"] for run in runs if run["status"] in ("succeeded", "done")]
    lost = min((run["endedMs"] for run in runs if run["endedMs"]), default=start)
    return start / 1000, max(ended, default=lost) / 1000


def node_rows(view: Json, step: int) -> list[Json]:
    """What each node did in a step: its status, how many requests its fault touched, and why if it ended early."""
    return [
        {
            "node": run["node"],
            "status": run["status"],
            "reason": run["reason"],
            "touched": touched(run["effects"]),
            "activeSeconds": max(0.0, run["endedMs"] - run["activeMs"]) / 1000 if run["activeMs"] else 0.0,
        }
        for run in _runs(view, step)
    ]


def touched(effects: Sequence[Json]) -> int | None:
    """How many requests or connections the faults of a run changed; None if nobody could count them."""
    counts = [int(effect["touched"]) for effect in effects if "touched" in effect]
    return sum(counts) if counts else None


def _runs(view: Json, step: int) -> list[Json]:
    steps = view.get("steps", [])
    return list(steps[step]["runs"]) if step < len(steps) else []

"""What a cluster is asked to do, once every name in a document is looked up and every default filled in.

A document is written for people; a `ResolvedOrchestration` is what the log carries and what the decisions read. It
names no scenario any more, only faults with their complete parameters, so that a peer needs nothing else to run it.
The classes are frozen; the dicts within them are never changed by anybody. `to_dict` gives plain dicts, lists, strings
and numbers (good for msgpack and JSON alike) and `from_dict` gives back an equal value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

SEED_MAX: Final = 2**53 - 1  # the largest integer that every JSON reader keeps exactly


class CoordinationMode(StrEnum):
    """How the targets of an orchestration share its steps."""

    PARALLEL = "parallel"
    SEQUENTIAL = "sequential"
    LEADER_ASSIGNED = "leaderAssigned"
    PEER_TO_PEER = "peerToPeer"


class OnNoTargets(StrEnum):
    """What becomes of a task that finds no node to run on: it fails, or it ends without doing anything."""

    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class TargetRule:
    """Which nodes: those of `names`, or those whose labels hold all of `selector`; with neither, all active nodes.

    `count` then takes that many of them, `percent` (1 to 100, rounded up, at least one) that part; at most one of the
    two is given. In the mode peerToPeer `count` is instead how many nodes take each step (None: one).
    """

    names: tuple[str, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    count: int | None = None
    percent: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "names": list(self.names),
            "selector": dict(self.selector),
            "count": self.count,
            "percent": self.percent,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TargetRule:
        """The rule that `to_dict` told. Raises ValueError if it is not one."""
        with _believing("target rule"):
            return cls(tuple(data["names"]), dict(data["selector"]), data["count"], data["percent"])


@dataclass(frozen=True, slots=True)
class SafetyLimits:
    """How many nodes may be under faults at once; None is no limit.

    `max_percent` is of the active nodes, rounded down, at least one.
    """

    max_nodes: int | None = None
    max_percent: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"maxNodes": self.max_nodes, "maxPercent": self.max_percent}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SafetyLimits:
        """The limits that `to_dict` told. Raises ValueError if they are none."""
        with _believing("limits"):
            return cls(data["maxNodes"], data["maxPercent"])


@dataclass(frozen=True, slots=True)
class ResolvedFault:
    """One fault: a type of the registry and its complete parameters, with the names that documents use (camelCase)."""

    type: str
    parameters: Mapping[str, Any]
    one_shot: bool = False
    """It is done and cannot be taken back; told by whoever resolved it, so that the decisions need no catalogue."""

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        data = {"type": self.type, "parameters": dict(self.parameters)}
        return {**data, "oneShot": True} if self.one_shot else data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ResolvedFault:
        """The fault that `to_dict` told. Raises ValueError if it is none."""
        with _believing("fault"):
            return cls(str(data["type"]), dict(data["parameters"]), bool(data.get("oneShot", False)))


@dataclass(frozen=True, slots=True)
class ResolvedStep:
    """One step. All of its faults start together, after `delay_before_seconds`, and last `duration_seconds`.

    `retries` is how many new attempts on other nodes follow the loss of a node, in the mode leaderAssigned. `disarm`
    names the safety nets that its orchestration does without; each node looks at them when it resolves its targets.
    """

    name: str
    scenario: str
    faults: tuple[ResolvedFault, ...]
    duration_seconds: float
    delay_before_seconds: float = 0.0
    continue_on_failure: bool = False
    retries: int = 1
    disarm: tuple[str, ...] = ()

    @property
    def one_shot(self) -> bool:
        """Whether nothing of it can be taken back; then it is never attempted again once it may have happened."""
        return all(fault.one_shot for fault in self.faults)

    @property
    def lasts(self) -> bool:
        """Whether it goes on for `duration_seconds`. One-shot faults that are not repeated end it at once."""
        return any(not fault.one_shot or "every" in fault.parameters for fault in self.faults)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        data = {
            "name": self.name,
            "scenario": self.scenario,
            "faults": [fault.to_dict() for fault in self.faults],
            "durationSeconds": self.duration_seconds,
            "delayBeforeSeconds": self.delay_before_seconds,
            "continueOnFailure": self.continue_on_failure,
            "retries": self.retries,
        }
        return {**data, "disarm": list(self.disarm)} if self.disarm else data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ResolvedStep:
        """The step that `to_dict` told. Raises ValueError if it is none."""
        with _believing("step"):
            return cls(
                name=str(data["name"]),
                scenario=str(data["scenario"]),
                faults=tuple(ResolvedFault.from_dict(fault) for fault in data["faults"]),
                duration_seconds=float(data["durationSeconds"]),
                delay_before_seconds=float(data["delayBeforeSeconds"]),
                continue_on_failure=bool(data["continueOnFailure"]),
                retries=int(data["retries"]),
                disarm=tuple(str(name) for name in data.get("disarm", ())),
            )


@dataclass(frozen=True, slots=True)
class ResolvedOrchestration:
    """A whole experiment, ready to be submitted: nothing in it refers to anything outside of it."""

    name: str
    mode: CoordinationMode
    targets: TargetRule
    steps: tuple[ResolvedStep, ...]
    limits: SafetyLimits
    deadline_seconds: float
    seed: int
    description: str = ""
    on_no_targets: OnNoTargets = OnNoTargets.FAIL

    @property
    def disarmed(self) -> list[str]:
        """The safety nets that it does without, sorted."""
        return sorted({name for step in self.steps for name in step.disarm})

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.name,
            "mode": self.mode.value,
            "targets": self.targets.to_dict(),
            "steps": [step.to_dict() for step in self.steps],
            "limits": self.limits.to_dict(),
            "deadlineSeconds": self.deadline_seconds,
            "seed": self.seed,
            "description": self.description,
            "onNoTargets": self.on_no_targets.value,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ResolvedOrchestration:
        """The orchestration that `to_dict` told. Raises ValueError if it is none."""
        with _believing("orchestration"):
            return cls(
                name=str(data["name"]),
                mode=CoordinationMode(data["mode"]),
                targets=TargetRule.from_dict(data["targets"]),
                steps=tuple(ResolvedStep.from_dict(step) for step in data["steps"]),
                limits=SafetyLimits.from_dict(data["limits"]),
                deadline_seconds=float(data["deadlineSeconds"]),
                seed=int(data["seed"]),
                description=str(data["description"]),
                on_no_targets=OnNoTargets(data["onNoTargets"]),
            )


def seed_of_name(name: str) -> int:
    """The seed of an orchestration that gives none: a hash of its name, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") & SEED_MAX


@contextmanager
def _believing(what: str) -> Iterator[None]:
    """Turns what goes wrong while plain data is taken apart into one ValueError that says what it should have been."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"this is no {what}: {type(error).__name__}: {error}") from error

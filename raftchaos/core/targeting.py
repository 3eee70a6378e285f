"""Which nodes an orchestration may touch, and how many at once. Decided once, when the task is submitted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from raftchaos import limits
from raftchaos.model.nodes import Node, NodeStatus
from raftchaos.model.resolved import CoordinationMode, ResolvedOrchestration, SafetyLimits, TargetRule


@dataclass(frozen=True, slots=True)
class Targets:
    """What a rule chose."""

    names: tuple[str, ...]
    """The chosen nodes in name order."""
    unknown: tuple[str, ...] = ()
    """Names of the rule that no node bears, in name order."""
    unavailable: tuple[tuple[str, str], ...] = ()
    """Names of the rule whose node takes no new runs, each with the reason, in name order."""


def available(nodes: Mapping[str, Node]) -> list[str]:
    """The names of the nodes that take new runs, sorted."""
    return sorted(name for name, node in nodes.items() if node.schedulable)


def choose(nodes: Mapping[str, Node], orchestration: ResolvedOrchestration) -> Targets:
    """The nodes that the orchestration may touch.

    In peerToPeer `count` and `percent` say how many of them take a step, not which may.
    """
    rule = orchestration.targets
    if rule.names:
        return _named(nodes, rule.names)
    names = [name for name in available(nodes) if _matches(nodes[name], rule)]
    wanted = wanted_of(rule, len(names))
    if wanted is not None and orchestration.mode is not CoordinationMode.PEER_TO_PEER:
        names = by_hash(orchestration.seed, names)[:wanted]
    return Targets(tuple(sorted(names)))


def wanted_of(rule: TargetRule, matching: int) -> int | None:
    """How many of the matching nodes the rule takes: percent is rounded up, at least one. None: all."""
    if rule.count is not None:
        return rule.count
    if rule.percent is not None:
        return max(1, -(-matching * rule.percent // 100))
    return None


def by_hash(seed: int, names: list[str]) -> list[str]:
    """Names in an order that depends on the seed and each name alone, so that 10 % is part of 50 %, and a node that
    comes back has its old place."""
    return sorted(names, key=lambda name: (hashlib.sha256(f"{seed}/{name}".encode()).digest(), name))


def max_nodes(rule: SafetyLimits, active: int) -> int:
    """At most how many nodes may be under faults at once: percent is of the active nodes, rounded down, at least one.
    `limits.NODES` where nothing limits it."""
    most = limits.NODES
    if rule.max_nodes is not None:
        most = min(most, rule.max_nodes)
    if rule.max_percent is not None:
        most = min(most, max(1, active * rule.max_percent // 100))
    return most


def why_unavailable(node: Node) -> str:
    """Why a node takes no new runs; empty if it does."""
    if node.status is not NodeStatus.ACTIVE:
        return str(node.status)
    return "drained" if node.drained else ""


def _named(nodes: Mapping[str, Node], names: tuple[str, ...]) -> Targets:
    wanted = sorted(set(names))
    present = [name for name in wanted if name in nodes]
    reasons = [(name, why_unavailable(nodes[name])) for name in present]
    return Targets(
        names=tuple(name for name, reason in reasons if not reason),
        unknown=tuple(name for name in wanted if name not in nodes),
        unavailable=tuple((name, reason) for name, reason in reasons if reason),
    )


def _matches(node: Node, rule: TargetRule) -> bool:
    return all(node.labels.get(key) == value for key, value in rule.selector.items())

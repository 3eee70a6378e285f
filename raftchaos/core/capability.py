"""Whether a node can do what a step asks of it, judged by its record in the registry alone.

The registry carries the fault types that a node's machine can do and the names of its proxies. No catalogue of faults
is read here: two peers of different releases must come to the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from raftchaos.core.answers import listing
from raftchaos.model.nodes import Node
from raftchaos.model.resolved import ResolvedFault, ResolvedStep

ON_PROXIES: Final = frozenset({"latency", "http_error", "reset_peer"})
"""Faults that a node's proxies do: without the parameter `proxy` they mean all of them, at least one. Those of the
first release, for ever: another list would be another answer. Of a later type the node itself says what it lacks,
before the task is accepted."""


def why_not(node: Node, steps: Sequence[ResolvedStep]) -> list[str]:
    """What the node lacks for these steps, as text; empty if it can do them all."""
    reasons = (reason for step in steps for fault in step.faults for reason in _lacks(node, fault))
    return list(dict.fromkeys(reasons))


def refusals(nodes: Mapping[str, Node], names: Sequence[str], steps: Sequence[ResolvedStep]) -> dict[str, list[str]]:
    """The nodes of `names` that lack something, each with what it lacks."""
    found = {name: why_not(nodes[name], steps) for name in names}
    return {name: reasons for name, reasons in found.items() if reasons}


def _lacks(node: Node, fault: ResolvedFault) -> list[str]:
    if fault.type not in node.capabilities:
        can = listing(sorted(node.capabilities)) or "none"
        return [f"it cannot do {fault.type} (it can do: {can})"]
    wanted = _proxies(fault.parameters.get("proxy"))
    if wanted:
        return [f"it has no proxy {name}" for name in wanted if name not in node.proxies]
    if fault.type in ON_PROXIES and not node.proxies:
        return [f"it has no proxy, and {fault.type} needs one"]
    return []


def _proxies(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(name) for name in value] if isinstance(value, list | tuple) else []

"""Scenarios that come with raftchaos. A ChaosScenario of the same name in a file takes the place of one of them."""

from __future__ import annotations

from typing import Any, Final

from raftchaos.model.faults import FAULTS
from raftchaos.model.resolved import ResolvedFault


def _scenario(*faults: tuple[str, dict[str, Any]]) -> tuple[ResolvedFault, ...]:
    return tuple(ResolvedFault(type_, parameters) for type_, parameters in faults)


BUILT_IN: Final[dict[str, tuple[ResolvedFault, ...]]] = {
    "slow-network": _scenario(("latency", {"latencyMs": 300.0, "jitterMs": 100.0, "direction": "both"})),
    "flaky-service": _scenario(
        ("http_error", {"statusCode": 503, "probability": 0.2}), ("latency", {"latencyMs": 200.0, "jitterMs": 100.0})
    ),
    "unreliable-connections": _scenario(("reset_peer", {"probability": 0.2, "afterMs": 50.0})),
}
"""Built-in scenarios by name: their faults with the parameters that differ from the faults' own defaults."""

SUMMARIES: Final[dict[str, str]] = {
    "slow-network": "300 ms more in both directions, give or take 100 ms",
    "flaky-service": "every fifth HTTP request fails with 503, the others take 200 ms longer",
    "unreliable-connections": "every fifth connection is reset after 50 ms",
}
"""What each built-in scenario is like."""


def known_scenarios() -> list[str]:
    """What a step may name without a ChaosScenario: the fault types and the built-in scenarios."""
    return [*FAULTS, *BUILT_IN]

"""Scenarios that come with raftchaos. A ChaosScenario of the same name in a file takes the place of one of them."""

from __future__ import annotations

from typing import Any, Final

from raftchaos.model.faults import FAULTS
from raftchaos.model.resolved import ResolvedFault


def _scenario(*faults: tuple[str, dict[str, Any]]) -> tuple[ResolvedFault, ...]:
    return tuple(ResolvedFault(type_, parameters) for type_, parameters in faults)


def _network(down: float, up: float, *parts: tuple[str, dict[str, Any]]) -> tuple[ResolvedFault, ...]:
    """A slow network: kilobytes (1000 bytes) a second down and up, shared by all connections as a link is, and more."""
    rates = {"downstream": down, "upstream": up}
    links: list[tuple[str, dict[str, Any]]] = [
        ("bandwidth", {"kilobytesPerSecond": rate, "sharedBy": "proxy", "direction": direction})
        for direction, rate in rates.items()
    ]
    return _scenario(*links, *parts)


BUILT_IN: Final[dict[str, tuple[ResolvedFault, ...]]] = {
    "slow-network": _scenario(("latency", {"latencyMs": 300.0, "jitterMs": 100.0, "direction": "both"})),
    "flaky-service": _scenario(
        ("http_error", {"statusCode": 503, "probability": 0.2}), ("latency", {"latencyMs": 200.0, "jitterMs": 100.0})
    ),
    "unreliable-connections": _scenario(("reset_peer", {"probability": 0.2, "afterMs": 50.0})),
    "slow_3g": _network(50.0, 50.0, ("latency", {"latencyMs": 200.0, "jitterMs": 40.0, "direction": "both"})),
    "fast_3g": _network(200.0, 94.0, ("latency", {"latencyMs": 75.0, "jitterMs": 15.0, "direction": "both"})),
    "flaky_wifi": _network(
        1_000.0,
        500.0,
        ("latency", {"latencyMs": 20.0, "jitterMs": 30.0, "distribution": "pareto", "direction": "both"}),
        ("reset_peer", {"probability": 0.05, "afterMs": 2_000.0}),
    ),
    "dialup": _network(6.0, 4.0, ("latency", {"latencyMs": 60.0, "jitterMs": 10.0, "direction": "both"})),
    "satellite": _network(1_875.0, 375.0, ("latency", {"latencyMs": 300.0, "jitterMs": 20.0, "direction": "both"})),
}
"""Built-in scenarios by name: their faults with the parameters that differ from the faults' own defaults."""

SUMMARIES: Final[dict[str, str]] = {
    "slow-network": "300 ms more in both directions, give or take 100 ms",
    "flaky-service": "every fifth HTTP request fails with 503, the others take 200 ms longer",
    "unreliable-connections": "every fifth connection is reset after 50 ms",
    "slow_3g": "a poor mobile network: 400 kbit/s, 400 ms more a round trip",
    "fast_3g": "a mobile network: 1.6 Mbit/s down, 750 kbit/s up, 150 ms more a round trip",
    "flaky_wifi": "8 Mbit/s down, 4 up, mostly a few ms but at times very late, one connection in twenty is reset",
    "dialup": "a modem: 48 kbit/s down, 32 up, 120 ms more a round trip",
    "satellite": "a geostationary satellite: 15 Mbit/s down, 3 up, 600 ms more a round trip",
}
"""What each built-in scenario is like."""


def known_scenarios() -> list[str]:
    """What a step may name without a ChaosScenario: the fault types and the built-in scenarios."""
    return [*FAULTS, *BUILT_IN]

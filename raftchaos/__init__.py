"""raftchaos: a chaos-engineering cluster of equal peers."""

from typing import TYPE_CHECKING, Any

from raftchaos._version import VERSION as __version__

if TYPE_CHECKING:
    from raftchaos.analytics.engine import AdvancedAnalyticsEngine
    from raftchaos.analytics.recording.analytics import ChaosAnalytics
    from raftchaos.client import Client
    from raftchaos.coordinator import DistributedCoordinator, OrchestratedScenario, ScenarioStep

__all__ = [
    "AdvancedAnalyticsEngine",
    "ChaosAnalytics",
    "Client",
    "DistributedCoordinator",
    "OrchestratedScenario",
    "ScenarioStep",
    "__version__",
]

_HOMES = {
    "AdvancedAnalyticsEngine": "raftchaos.analytics.engine",
    "ChaosAnalytics": "raftchaos.analytics.recording.analytics",
    "Client": "raftchaos.client",
    "DistributedCoordinator": "raftchaos.coordinator",
    "OrchestratedScenario": "raftchaos.coordinator",
    "ScenarioStep": "raftchaos.coordinator",
}


def __getattr__(name: str) -> Any:
    """Imports the public classes on first use: `raftchaos --help` must not pay for them."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'raftchaos' has no attribute {name!r}")

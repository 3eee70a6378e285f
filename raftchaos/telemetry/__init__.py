"""What a peer says about itself in numbers: the catalogue of metrics, and their exposition for Prometheus."""

from raftchaos.telemetry.metrics import Metrics, MetricsSource, ProcessUse

__all__ = ["Metrics", "MetricsSource", "ProcessUse"]

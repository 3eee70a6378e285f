"""The families that the analyst's last report tells."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from raftchaos.core.health import TOTAL
from raftchaos.telemetry.catalogue import BY_NAME, HEALTH
from raftchaos.telemetry.families import Family, by_label, family, single


def analytics_families(report: Mapping[str, Any]) -> Iterator[Family]:
    """All of them, also when nothing was reported (the analyst is down, or was not needed yet)."""
    counted: dict[tuple[str, ...], int] = {
        (kind, severity, "true" if expected else "false"): count
        for kind, severity, expected, count in report.get("anomalies", ())
    }
    known = [tuple(values) for values in BY_NAME["raftchaos_anomalies_total"].labels.values()]
    yield family("raftchaos_anomalies_total", [(key, counted.get(tuple(key), 0)) for key in product(*known)])
    yield single("raftchaos_chaos_impact_severity", report.get("worst", 0.0))
    health = report.get("health") or {"score": math.nan, "factors": ()}
    points = {factor["component"]: factor["points"] for factor in health["factors"]} | {TOTAL: health["score"]}
    yield family("raftchaos_health_score", [((name,), points.get(name, math.nan)) for name in HEALTH])
    yield single("raftchaos_predictions_total", report.get("predictions", 0))
    errors = report.get("errors") or (math.nan,)
    yield single("raftchaos_forecast_error_ratio", statistics.median(errors))
    dropped = {name: report.get("dropped", {}).get(name, 0) for name in ("queue", "late", "ahead")}
    yield by_label("raftchaos_recording_dropped_total", dropped)

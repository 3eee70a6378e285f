"""What an experiment did: against its control group where a sample was taken, else against the time around it.

A control group went through the same minutes, so the difference to it is the effect, whatever else happened. Without
one the metric is followed through before, during and after by a regression on its level, its trend, the fault and what
stays of it (an interrupted time series; Bernal, Cummins & Gasparrini 2017, *Int. J. Epidemiology* 46), with errors that
resemble the one before (AR(1), generalised least squares).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from raftchaos.analytics.relations.measured import Requests, error_share_change, quantile_change
from raftchaos.analytics.series import Floats, Series
from raftchaos.errors import UsageError
from raftchaos.model.findings.impact import Estimate, Impact

LEAST_BEFORE: Final = 12
LEAST_DURING: Final = 3
"""Fewer values than these before and during carry no interval."""


def impact_by_control(faulted: Requests, control: Requests, seed: int) -> tuple[Impact, ...]:
    """What the fault did to latency (median and 95th percentile, ms) and to the share of errors (percentage points)."""
    found = [
        (f"latency_p{round(100 * share)}", "ms", quantile_change(control, faulted, share, seed))
        for share in (0.50, 0.95)
    ]
    errors = error_share_change(control, faulted, seed)
    found.append(("error_ratio", "%", _scaled(errors, 100.0)))
    return tuple(
        Impact(metric=metric, unit=unit, effect=effect, method="controlGroup", sentence=sentence(metric, unit, effect))
        for metric, unit, effect in found
        if not math.isnan(effect.value)
    )


def impact_by_time(metric: str, unit: str, series: Series, start: float, end: float) -> Impact:
    """What happened to `metric` between `start` and `end` (seconds since the epoch), and what stayed afterwards.

    Raises UsageError if `end` is not after `start`, or if nothing was measured before or while the fault was on.
    """
    if not start < end:
        raise UsageError(f"found a time from {start} to {end}, expected an end after its start")
    known = ~np.isnan(series.values)
    times, values = series.times[known], series.values[known]
    before, during = times < start, (times >= start) & (times < end)
    if not before.any() or not during.any():
        raise UsageError(
            f"found {before.sum()} values of {metric} before and {during.sum()} during the fault, expected some of each"
        )
    after = times >= end
    if before.sum() < LEAST_BEFORE or during.sum() < LEAST_DURING:
        effect = Estimate(value=float(values[during].mean() - values[before].mean()))
        lasting = Estimate(value=float(values[after].mean() - values[before].mean())) if after.any() else None
    else:
        fit = _interrupted(times, values, during, after, series.step)
        effect, lasting = fit.during, fit.after
    return Impact(
        metric=metric,
        unit=unit,
        effect=effect,
        lasting=lasting,
        method="interruptedTimeSeries",
        sentence=sentence(metric, unit, effect),
    )


def sentence(metric: str, unit: str, effect: Estimate) -> str:
    """The effect as a report says it: `+212 ms latency_p95 (95 % 180 to 240)`."""
    head = f"{effect.value:+.3g} {unit} {metric}" if abs(effect.value) < 100 else f"{effect.value:+.0f} {unit} {metric}"
    if effect.low is None or effect.high is None:
        return f"{head} (too little independent data for an interval)"
    return f"{head} (95 % {effect.low:.3g} to {effect.high:.3g})"


class _Interrupted(NamedTuple):
    during: Estimate
    after: Estimate | None


def _interrupted(times: Floats, values: Floats, during: np.ndarray, after: np.ndarray, step: float) -> _Interrupted:
    """The regression, with ρ from its residuals, corrected for its bias (ρ̂ + (1 + 4ρ̂)/n, Kendall 1954)."""
    from scipy.stats import t as student

    trend = (times - times[0]) / max(step, times[-1] - times[0])
    columns = [np.ones(len(times)), trend, during.astype(np.float64)]
    if after.any():
        columns.append(after.astype(np.float64))
    design = np.column_stack(columns)
    rho = 0.0
    weights = np.zeros(design.shape[1])
    for _ in range(4):
        weights = np.linalg.lstsq(_quasi(design, rho), _quasi(values[:, None], rho)[:, 0], rcond=None)[0]
        left = values - design @ weights
        spread = float(left @ left)
        rho = float(left[1:] @ left[:-1]) / spread if spread > 0 else 0.0
        rho = min(0.98, max(0.0, rho + (1 + 4 * rho) / len(values)))
    whitened, target = _quasi(design, rho), _quasi(values[:, None], rho)[:, 0]
    weights = np.linalg.lstsq(whitened, target, rcond=None)[0]
    left = target - whitened @ weights
    free = len(values) - design.shape[1]
    covariance = float(left @ left) / free * np.linalg.pinv(whitened.T @ whitened)
    independent = max(2.0, free * (1 - rho) / (1 + rho))
    reach = float(student.ppf(0.975, independent)) * np.sqrt(np.diag(covariance))
    told = [Estimate(value=float(w), low=float(w - r), high=float(w + r)) for w, r in zip(weights, reach, strict=True)]
    return _Interrupted(told[2], told[3] if after.any() else None)


def _quasi(rows: np.ndarray, rho: float) -> np.ndarray:
    """Rows less ρ times the one before (Prais & Winsten 1954): errors that were AR(1) are independent in them."""
    return np.vstack([rows[:1] * math.sqrt(1 - rho * rho), rows[1:] - rho * rows[:-1]])


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    low, high = estimate.low, estimate.high
    return Estimate(
        value=estimate.value * factor,
        low=None if low is None else low * factor,
        high=None if high is None else high * factor,
    )

"""Every metric of raftchaos, in one place: name, type, unit, labels with their values, meaning.

`python -m raftchaos.telemetry.catalogue` prints docs/metrics.md; a test holds the document to it, and the exposition.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from raftchaos import limits
from raftchaos.core.health import SCALES, TOTAL
from raftchaos.model.events import EventType
from raftchaos.model.faults import FAULTS
from raftchaos.model.findings.anomaly import AnomalyType
from raftchaos.model.nodes import NodeStatus
from raftchaos.model.resolved import CoordinationMode
from raftchaos.model.tasks import TaskStatus, Verdict

OTHER: Final = "other"
"""What a value that is not in the catalogue counts as."""

FAULT_VALUES: Final = (*FAULTS, OTHER)
EVENT_VALUES: Final = (*(str(event) for event in EventType), OTHER)
NODE_STATUSES: Final = tuple(str(status) for status in NodeStatus)
TASK_STATUSES: Final = tuple(str(status) for status in TaskStatus)
MODES: Final = tuple(str(mode) for mode in CoordinationMode)
RESULTS: Final = (
    *(str(verdict) for verdict in Verdict),
    str(TaskStatus.ABORTED),
    str(TaskStatus.CANCELLED),
    str(TaskStatus.HALTED),
    str(TaskStatus.RECOVERY_FAILED),
    OTHER,
)
COMPONENTS: Final = ("main", "proxy", "reaper", "analyst")
HEALTH: Final = (TOTAL, *SCALES)
"""The health as a whole, and its components."""
SEVERITIES: Final = ("low", "medium", "high")
"""Of an anomaly: below a third, below two thirds, and above."""

COMMIT_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LATE_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. `labels` has for each label its possible values, or a text that says what they are."""

    name: str
    type: Literal["gauge", "counter", "histogram"]
    unit: str
    meaning: str
    labels: Mapping[str, tuple[str, ...] | str] = field(default_factory=dict)
    cluster_wide: bool = False
    """Every peer exports the same: read it with `max without (instance)`."""
    buckets: tuple[float, ...] = ()


_NODE: Final = "names of the registered nodes"
_RUNNING: Final = f"ids of tasks that run, pause or recover (the newest {limits.TASK_SERIES})"
_KNOWN: Final = f"{_RUNNING} and of the last {limits.TASK_SERIES} that ended"

METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "raftchaos_node_status",
        "gauge",
        "0 or 1",
        "Whether the node has this status",
        {"node": _NODE, "status": NODE_STATUSES},
        cluster_wide=True,
    ),
    Metric("raftchaos_node_drained", "gauge", "0 or 1", "Whether the node is drained", {"node": _NODE}, True),
    Metric(
        "raftchaos_node_heartbeat_total",
        "counter",
        "pings",
        "Pings of the node that this peer has answered as the leader",
        {"node": _NODE},
    ),
    Metric("raftchaos_leader_term", "gauge", "terms", "The Raft term that this peer is in"),
    Metric("raftchaos_is_leader", "gauge", "0 or 1", "Whether this peer leads"),
    Metric("raftchaos_ready", "gauge", "0 or 1", "Whether this peer has caught up and sees a leader"),
    Metric("raftchaos_halted", "gauge", "0 or 1", "Whether a halt is in force, as this peer knows it"),
    Metric("raftchaos_insecure", "gauge", "0 or 1", "Whether this peer was started with --insecure"),
    Metric(
        "raftchaos_certificate_end_seconds",
        "gauge",
        "seconds",
        "When this peer's certificate ends, since 1970; 0 without one",
    ),
    Metric("raftchaos_raft_quorum", "gauge", "0 or 1", "Whether this peer reaches a majority of the voters"),
    Metric("raftchaos_raft_voters", "gauge", "peers", "Voting members of the cluster"),
    Metric("raftchaos_raft_voters_reachable", "gauge", "peers", "Voters that this peer reaches, itself included"),
    Metric("raftchaos_raft_observers", "gauge", "peers", "Members that are sent the log and do not vote"),
    Metric("raftchaos_raft_log_index", "gauge", "index", "Index of the last entry in this peer's Raft log"),
    Metric("raftchaos_raft_commit_index", "gauge", "index", "Index of the last entry that it knows as committed"),
    Metric("raftchaos_raft_applied_index", "gauge", "index", "Index of the last entry that it has applied"),
    Metric(
        "raftchaos_raft_commit_seconds",
        "histogram",
        "seconds",
        "Time from a proposal of this peer until it was applied here",
        buckets=COMMIT_BUCKETS,
    ),
    Metric(
        "raftchaos_tasks",
        "gauge",
        "tasks",
        "Tasks in the state, unfinished and finished, by status",
        {"status": TASK_STATUSES},
        cluster_wide=True,
    ),
    Metric(
        "raftchaos_task_status",
        "gauge",
        "0 or 1",
        "Whether the task has this status",
        {"task": _KNOWN, "status": TASK_STATUSES},
        cluster_wide=True,
    ),
    Metric(
        "raftchaos_task_completed_total",
        "counter",
        "tasks",
        "Tasks that ended, by what came of them",
        {"result": RESULTS, "mode": MODES},
        cluster_wide=True,
    ),
    Metric(
        "raftchaos_orchestration_progress",
        "gauge",
        "ratio",
        "The share of the task that is behind it, 0 to 1 (an estimate)",
        {"task": _RUNNING},
        cluster_wide=True,
    ),
    Metric(
        "raftchaos_orchestration_step",
        "gauge",
        "steps",
        "The step that the task is at, counted from 1; 0 before the first",
        {"task": _RUNNING},
        cluster_wide=True,
    ),
    Metric("raftchaos_failed_steps_total", "counter", "steps", "Steps that failed while this peer ran"),
    Metric(
        "raftchaos_fault_injections_total",
        "counter",
        "injections",
        "Faults that this peer has put on: the first application after each grant",
        {"fault": FAULT_VALUES},
    ),
    Metric(
        "raftchaos_fault_effect_total",
        "counter",
        "requests, connections, packets or processes",
        "What the ended faults of this peer have touched",
        {"fault": FAULT_VALUES},
    ),
    Metric(
        "raftchaos_recover_failures_total",
        "counter",
        "tries",
        "Tries of this peer to take a fault back that failed; each is tried again until it is off",
        {"fault": FAULT_VALUES},
    ),
    Metric("raftchaos_active_faults", "gauge", "faults", "Faults that are on at this peer", {"fault": FAULT_VALUES}),
    Metric(
        "raftchaos_chaos_events_total",
        "counter",
        "events",
        "Events that this peer has seen since it started, replays apart",
        {"type": EVENT_VALUES},
    ),
    Metric(
        "raftchaos_event_loop_late_seconds",
        "histogram",
        "seconds",
        "How late the main process's event loop ran its timers",
        buckets=LATE_BUCKETS,
    ),
    Metric(
        "raftchaos_anomalies_total",
        "counter",
        "anomalies",
        "Anomalies that this peer's analyst has found since it started; expected ones are explained by a fault",
        {
            "type": tuple(map(str, AnomalyType)),
            "severity": SEVERITIES,
            "expected": ("true", "false"),
        },
    ),
    Metric(
        "raftchaos_chaos_impact_severity",
        "gauge",
        "0 to 1",
        "Severity of the worst anomaly that is open at this peer, expected or not",
    ),
    Metric(
        "raftchaos_health_score",
        "gauge",
        "0 to 100",
        "Health of what this peer recorded in the last five minutes; not a number where nobody can tell",
        {"component": HEALTH},
    ),
    Metric(
        "raftchaos_predictions_total",
        "counter",
        "insights",
        "Insights that this peer's analyst has made since it started",
    ),
    Metric(
        "raftchaos_forecast_error_ratio",
        "gauge",
        "ratio",
        "Median of the last insights that came due: error over half the width of the 95 % interval, above 1 they "
        "missed; not a number before one is due",
    ),
    Metric(
        "raftchaos_recording_dropped_total",
        "counter",
        "events or messages",
        "What is in no recording of this peer, by why: `queue` the analyst did not keep up, `late` and `ahead` the "
        "time of the events was wrong",
        {"reason": ("queue", "late", "ahead")},
    ),
    Metric(
        "raftchaos_process_cpu_seconds_total",
        "counter",
        "seconds",
        "CPU time of a process of this peer since it started",
        {"component": COMPONENTS},
    ),
    Metric(
        "raftchaos_process_resident_memory_bytes",
        "gauge",
        "bytes",
        "Resident memory of a process of this peer; 0 while it is down",
        {"component": COMPONENTS},
    ),
    Metric(
        "raftchaos_build_info",
        "gauge",
        "always 1",
        "Which release this peer is",
        {"version": "the release", "python": "the version of Python"},
    ),
)

BY_NAME: Final = {metric.name: metric for metric in METRICS}


def document() -> str:
    """The text of docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Every peer serves its metrics at `/metrics` of its API address, in the Prometheus text format. This page is",
        "generated by `python -m raftchaos.telemetry.catalogue`.",
        "",
        "All values of a label that are listed here are there from the start, with 0. A label whose values are names",
        "of nodes or ids of tasks has a series for each of them, which ends with it. Metrics that are marked",
        "*cluster* are the same on every peer: read them with `max without (instance)`. The others are about the peer",
        f"that exports them. What does not fit a listed value counts as `{OTHER}`, such as a fault of",
        "an installed package.",
        "",
        "| metric | type | unit | labels | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(metric) for metric in METRICS]
    return "\n".join(lines) + "\n"


def _row(metric: Metric) -> str:
    labels = "<br>".join(
        f"`{name}`: {values if isinstance(values, str) else ', '.join(f'`{value}`' for value in values)}"
        for name, values in metric.labels.items()
    )
    scope = " *(cluster)*" if metric.cluster_wide else ""
    buckets = f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}." if metric.buckets else ""
    return f"| `{metric.name}` | {metric.type} | {metric.unit} | {labels} | {metric.meaning}.{buckets}{scope} |"


if __name__ == "__main__":
    sys.stdout.write(document())

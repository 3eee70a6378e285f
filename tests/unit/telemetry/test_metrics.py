"""What /metrics says is what the state says, complete from the start and bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from raftchaos import limits
from raftchaos.core import commands
from raftchaos.core.commands import Command
from raftchaos.core.interfaces import Entry, Quorum, ReplicaStatus
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.meter import Meter, NullMeter
from raftchaos.core.service_records import ActiveFault, Health
from raftchaos.core.state import ClusterState, HaltRecord
from raftchaos.model.loading import parse_submission
from raftchaos.telemetry.catalogue import METRICS, document
from raftchaos.telemetry.metrics import Counts, Metrics, ProcessUse

TERM = 4
NOW_MS = 1_700_000_000_000
DIRECTORY = "d" * 32


@dataclass
class Source:
    """One peer of a cluster, its state made by the real commands."""

    machine: ReplicatedState = field(default_factory=ReplicatedState)
    insecure: bool = False
    certificate_end: float = 1_800_000_000.0
    faults: list[ActiveFault] = field(default_factory=list)
    halts: list[HaltRecord] = field(default_factory=list)
    analytics: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> ClusterState:
        return self.machine.state

    def status(self) -> ReplicaStatus:
        quorum = Quorum(("node-1", "node-2", "node-3"), ("node-1", "node-2"), True, 0)
        return ReplicaStatus("node-1", "leader", TERM, "node-1", 9, 8, 10, quorum, True, True)

    def health(self) -> Health:
        return Health(True, True)

    def active_faults(self) -> Sequence[ActiveFault]:
        return self.faults

    def local_halts(self) -> Sequence[HaltRecord]:
        return self.halts

    def do(self, command: Command, at_ms: int = NOW_MS) -> None:
        index = self.machine.applied_index + 1
        result = self.machine.apply(Entry(index, TERM, f"test:{index}", at_ms, commands.encode(command)))
        assert result["ok"], result

    def register(self, *names: str) -> None:
        for name in names:
            can = ["latency", "http_error", "reset_peer"]
            self.do(commands.RegisterNode(name, 1, DIRECTORY, "h:1", "h:2", capabilities=can, proxies=["p"]))

    def submit(self, task: str, mode: str = "parallel") -> None:
        step = {"name": "slow", "scenario": "latency", "durationSeconds": 10}
        spec = {"coordinationMode": mode, "steps": [step, {**step, "name": "again"}]}
        raw = {
            "apiVersion": "raftchaos.io/v1",
            "kind": "ChaosOrchestration",
            "metadata": {"name": "test"},
            "spec": spec,
        }
        self.do(commands.SubmitTask(task, parse_submission(raw, "test").to_dict()))

    def run_first_step(self, task: str, node: str = "node-1") -> None:
        run = f"{task}/1/0/{node}/1"
        self.do(commands.PlanRuns(TERM, task, [(run, 10.0)]))
        self.do(commands.StartRun(run, node, 1, DIRECTORY, ["proxy:p"]))
        self.do(commands.RunActive(run, node, 1))


class FixedClock:
    def boot(self) -> float:
        return 100.0

    def wall(self) -> float:
        return NOW_MS / 1000 + 5.0


Key = tuple[str, tuple[tuple[str, str], ...]]


def scrape(metrics: Metrics) -> dict[Key, float]:
    """The samples by name and labels. Fails if a family or a sample stands twice."""
    found: dict[Key, float] = {}
    families = list(text_string_to_metric_families(metrics.text()))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def key(name: str, **labels: str) -> Key:
    return name, tuple(sorted(labels.items()))


@pytest.fixture
def source() -> Source:
    made = Source()
    made.do(commands.LeaderStarted(TERM, "node-1"))
    made.register("node-1", "node-2")
    return made


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def metrics(source: Source, counts: Counts) -> Metrics:
    processes = {"main": lambda: ProcessUse(1.5, 50_000_000), "proxy": lambda: None}
    return Metrics(source, FixedClock(), processes, counts)


def test_every_metric_of_the_catalogue_is_exported_and_no_other(metrics: Metrics) -> None:
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(metrics.text())
    }
    assert set(families) == {metric.name for metric in METRICS}
    for metric in METRICS:
        assert families[metric.name].type == metric.type
        assert families[metric.name].documentation == metric.meaning
        for sample in families[metric.name].samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
            for label, values in metric.labels.items():
                assert isinstance(values, str) or sample.labels[label] in values


def test_every_known_value_is_there_from_the_start_with_0(metrics: Metrics) -> None:
    found = scrape(metrics)
    for metric in METRICS:
        if metric.type == "counter" and metric.labels and all(isinstance(v, tuple) for v in metric.labels.values()):
            series = [value for (name, _), value in found.items() if name == metric.name]
            size = 1
            for values in metric.labels.values():
                size *= len(values)
            assert len(series) == size
            if not metric.name.startswith("raftchaos_process_"):
                assert not any(series)
    assert found[key("raftchaos_failed_steps_total")] == 0
    assert found[key("raftchaos_node_heartbeat_total", node="node-2")] == 0


def test_nodes_are_one_gauge_a_status_and_end_with_the_node(source: Source, metrics: Metrics, counts: Counts) -> None:
    source.do(commands.NodeFailed(TERM, "node-2", 1))
    counts.heartbeat("node-2")
    found = scrape(metrics)
    assert found[key("raftchaos_node_status", node="node-2", status="failed")] == 1
    assert found[key("raftchaos_node_status", node="node-2", status="active")] == 0
    assert found[key("raftchaos_node_heartbeat_total", node="node-2")] == 1
    source.do(commands.RemoveNode("node-2"))
    assert not [name for name, labels in scrape(metrics) if ("node", "node-2") in labels]


def test_the_peer_and_its_raft(source: Source, metrics: Metrics) -> None:
    found = scrape(metrics)
    assert found[key("raftchaos_leader_term")] == TERM
    assert found[key("raftchaos_is_leader")] == 1
    assert found[key("raftchaos_raft_quorum")] == 1
    assert found[key("raftchaos_raft_voters_reachable")] == 2
    assert found[key("raftchaos_raft_applied_index")] == 8
    assert found[key("raftchaos_process_cpu_seconds_total", component="main")] == 1.5
    assert found[key("raftchaos_process_resident_memory_bytes", component="proxy")] == 0
    assert found[key("raftchaos_halted")] == 0
    source.halts.append(HaltRecord("h-1", "", "node-1", NOW_MS))
    assert scrape(metrics)[key("raftchaos_halted")] == 1


def test_a_running_task_shows_its_step_and_how_far_it_is(source: Source, metrics: Metrics) -> None:
    source.submit("t-1")
    assert scrape(metrics)[key("raftchaos_tasks", status="pending")] == 1
    source.run_first_step("t-1")
    found = scrape(metrics)
    assert found[key("raftchaos_task_status", task="t-1", status="running")] == 1
    assert found[key("raftchaos_task_status", task="t-1", status="failed")] == 0
    assert found[key("raftchaos_orchestration_step", task="t-1")] == 1
    # Half of one of two steps on one of two nodes.
    assert found[key("raftchaos_orchestration_progress", task="t-1")] == pytest.approx(0.125)


def test_an_ended_task_counts_by_its_result(source: Source, metrics: Metrics) -> None:
    source.submit("t-1", mode="sequential")
    source.do(commands.CancelTask("t-1"))
    source.do(commands.FinishTask(TERM, "t-1"))
    found = scrape(metrics)
    assert found[key("raftchaos_task_completed_total", result="cancelled", mode="sequential")] == 1
    assert found[key("raftchaos_task_status", task="t-1", status="cancelled")] == 1
    assert found[key("raftchaos_tasks", status="cancelled")] == 1
    assert not [name for name, labels in found if "progress" in name and ("task", "t-1") in labels]


def test_series_of_tasks_are_bounded(source: Source, metrics: Metrics) -> None:
    for number in range(limits.TASK_SERIES + 20):
        source.submit(f"t-{number}")
        source.do(commands.CancelTask(f"t-{number}"))
        source.do(commands.FinishTask(TERM, f"t-{number}"))
    for number in range(30):
        source.submit(f"u-{number}")
    found = scrape(metrics)
    tasks = {dict(labels)["task"] for name, labels in found if name == "raftchaos_task_status"}
    assert tasks == {f"t-{number}" for number in range(20, limits.TASK_SERIES + 20)}
    assert found[key("raftchaos_tasks", status="pending")] == 30


def test_faults_on_and_counted(source: Source, metrics: Metrics, counts: Counts) -> None:
    source.faults = [ActiveFault("r", "latency", "proxy:p"), ActiveFault("r", "of the future", "x")]
    counts.fault_injected("latency")
    counts.fault_injected("' or a flood of names")
    counts.fault_effect("latency", 12)
    counts.step_failed()
    counts.event("taskStatus")
    counts.event("unheard of")
    found = scrape(metrics)
    assert found[key("raftchaos_active_faults", fault="latency")] == 1
    assert found[key("raftchaos_active_faults", fault="other")] == 1
    assert found[key("raftchaos_fault_injections_total", fault="latency")] == 1
    assert found[key("raftchaos_fault_injections_total", fault="other")] == 1
    assert found[key("raftchaos_fault_effect_total", fault="latency")] == 12
    assert found[key("raftchaos_failed_steps_total")] == 1
    assert found[key("raftchaos_chaos_events_total", type="taskStatus")] == 1
    assert found[key("raftchaos_chaos_events_total", type="other")] == 1


def test_histograms_add_up(metrics: Metrics, counts: Counts) -> None:
    for seconds in (0.001, 0.003, 0.7, 99.0, -1.0):
        counts.committed(seconds)
    counts.loop_late(0.02)
    found = scrape(metrics)
    assert found[key("raftchaos_raft_commit_seconds_bucket", le="0.001")] == 2
    assert found[key("raftchaos_raft_commit_seconds_bucket", le="1.0")] == 4
    assert found[key("raftchaos_raft_commit_seconds_bucket", le="+Inf")] == 5
    assert found[key("raftchaos_raft_commit_seconds_count")] == 5
    assert found[key("raftchaos_raft_commit_seconds_sum")] == pytest.approx(99.704)
    assert found[key("raftchaos_event_loop_late_seconds_count")] == 1


def test_the_counts_are_a_meter_and_there_is_one_that_counts_nothing() -> None:
    meters: list[Meter] = [Counts(), NullMeter()]
    for meter in meters:
        meter.heartbeat("node-1")
        meter.step_failed()
        meter.fault_injected("latency")
        meter.fault_effect("latency", 1)
        meter.committed(0.1)
        meter.event("halted")
        meter.loop_late(0.1)


def test_the_document_is_what_the_catalogue_says() -> None:
    page = Path(__file__).parents[3] / "docs" / "metrics.md"
    assert page.read_text() == document(), "run: python -m raftchaos.telemetry.catalogue > docs/metrics.md"

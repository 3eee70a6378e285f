"""The exposition: what the catalogue names, read from the state when somebody scrapes, and counted in between."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from raftchaos._version import VERSION
from raftchaos.clock import Clock
from raftchaos.core.interfaces import ReplicaStatus
from raftchaos.core.service_records import ActiveFault, Health
from raftchaos.core.state import ClusterState, HaltRecord
from raftchaos.telemetry.analytics_series import analytics_families
from raftchaos.telemetry.catalogue import BY_NAME, COMPONENTS, EVENT_VALUES, FAULT_VALUES, OTHER
from raftchaos.telemetry.families import Family, by_label, family, single
from raftchaos.telemetry.task_series import TaskSeries


class MetricsSource(Protocol):
    """What is read at a scrape; a part of `core.services.PeerServices`."""

    @property
    def insecure(self) -> bool: ...

    @property
    def certificate_end(self) -> float: ...

    @property
    def state(self) -> ClusterState: ...

    @property
    def analytics(self) -> Mapping[str, Any]: ...

    def status(self) -> ReplicaStatus: ...

    def health(self) -> Health: ...

    def active_faults(self) -> Sequence[ActiveFault]: ...

    def local_halts(self) -> Sequence[HaltRecord]: ...


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What a process uses now."""

    cpu_seconds: float
    resident_bytes: int


class Metrics:
    """The exposition of one peer.

    `counts` is what its parts have counted. `processes` gives, for each component, what its process uses now (None
    while it is down). Everything is called from the loop's thread.
    """

    def __init__(
        self,
        source: MetricsSource,
        clock: Clock,
        processes: Mapping[str, Callable[[], ProcessUse | None]],
        counts: Counts,
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Exposition(source, clock, dict(processes), counts))

    def text(self) -> str:
        """Everything, in the Prometheus text format 0.0.4."""
        return generate_latest(self._registry).decode()


class Buckets:
    """A histogram: how many observations fell below each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Takes one observation; a negative one (a clock was read twice) counts as 0."""
        value = max(value, 0.0)
        place = next((at for at, bound in enumerate(self._bounds) if value <= bound), len(self._bounds))
        self._counts[place] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: each with all the ones below it."""
        found, below = [], 0
        for bound, count in zip((*(str(bound) for bound in self._bounds), "+Inf"), self._counts, strict=True):
            below += count
            found.append((bound, float(below)))
        return found


class Counts:
    """What was counted since this peer started; the `core.interfaces.Meter` that its parts count with.

    All known values are there from the start.
    """

    def __init__(self) -> None:
        self.heartbeats: dict[str, int] = {}
        self.failed_steps = 0
        self.injections = dict.fromkeys(FAULT_VALUES, 0)
        self.effects = dict.fromkeys(FAULT_VALUES, 0)
        self.failed_recoveries = dict.fromkeys(FAULT_VALUES, 0)
        self.events = dict.fromkeys(EVENT_VALUES, 0)
        self.commits = Buckets(BY_NAME["raftchaos_raft_commit_seconds"].buckets)
        self.late = Buckets(BY_NAME["raftchaos_event_loop_late_seconds"].buckets)

    def heartbeat(self, node: str) -> None:
        """This peer, as the leader, has answered a ping of that node."""
        self.heartbeats[node] = self.heartbeats.get(node, 0) + 1

    def step_failed(self) -> None:
        """A step of a task has failed."""
        self.failed_steps += 1

    def fault_injected(self, fault: str) -> None:
        """A fault of that type was put on here."""
        _count(self.injections, fault, 1)

    def fault_effect(self, fault: str, touched: int) -> None:
        """An ended fault of that type has touched so much here."""
        _count(self.effects, fault, max(touched, 0))

    def recover_failed(self, fault: str) -> None:
        """A try to take back a fault of that type has failed here."""
        _count(self.failed_recoveries, fault, 1)

    def committed(self, seconds: float) -> None:
        """A proposal of this peer took so long until it was applied here."""
        self.commits.observe(seconds)

    def event(self, event_type: str) -> None:
        """An event of that type was applied."""
        _count(self.events, event_type, 1)

    def loop_late(self, seconds: float) -> None:
        """The event loop ran a timer so much later than it was due."""
        self.late.observe(seconds)


class _Exposition(Collector):
    """Makes the families of one scrape."""

    def __init__(
        self,
        source: MetricsSource,
        clock: Clock,
        processes: dict[str, Callable[[], ProcessUse | None]],
        counts: Counts,
    ) -> None:
        self._source = source
        self._clock = clock
        self._processes = processes
        self._counts = counts
        self._tasks = TaskSeries()

    def collect(self) -> Iterator[Family]:
        """All families of the catalogue, each once."""
        state = self._source.state
        yield from self._nodes(state)
        yield from self._peer(state)
        yield from self._raft(self._source.status())
        for name, samples in self._tasks.samples(state, int(self._clock.wall() * 1000)).items():
            yield family(name, samples)
        yield from self._faults()
        yield from analytics_families(self._source.analytics)
        yield from self._process()

    def _nodes(self, state: ClusterState) -> Iterator[Family]:
        nodes = [state.nodes[name] for name in sorted(state.nodes)]
        statuses = BY_NAME["raftchaos_node_status"].labels["status"]
        yield family(
            "raftchaos_node_status",
            [((node.name, status), float(node.status == status)) for node in nodes for status in statuses],
        )
        yield family("raftchaos_node_drained", [((node.name,), float(node.drained)) for node in nodes])
        counted = self._counts.heartbeats
        for gone in counted.keys() - state.nodes.keys():
            del counted[gone]  # the series of a removed node ends
        yield family("raftchaos_node_heartbeat_total", [((n.name,), counted.get(n.name, 0)) for n in nodes])

    def _peer(self, state: ClusterState) -> Iterator[Family]:
        health = self._source.health()
        yield single("raftchaos_ready", health.live and health.ready)
        yield single("raftchaos_halted", state.halted or bool(self._source.local_halts()))
        yield single("raftchaos_insecure", self._source.insecure)
        yield single("raftchaos_certificate_end_seconds", self._source.certificate_end)

    def _raft(self, status: ReplicaStatus) -> Iterator[Family]:
        yield single("raftchaos_leader_term", status.term)
        yield single("raftchaos_is_leader", status.role == "leader")
        yield single("raftchaos_raft_quorum", status.quorum.has_quorum)
        yield single("raftchaos_raft_voters", len(status.quorum.voters))
        yield single("raftchaos_raft_voters_reachable", len(status.quorum.reachable))
        yield single("raftchaos_raft_observers", len(status.observers))
        yield single("raftchaos_raft_log_index", status.last_index)
        yield single("raftchaos_raft_commit_index", status.commit_index)
        yield single("raftchaos_raft_applied_index", status.applied_index)
        yield _histogram("raftchaos_raft_commit_seconds", self._counts.commits)

    def _faults(self) -> Iterator[Family]:
        active = dict.fromkeys(FAULT_VALUES, 0)
        for fault in self._source.active_faults():
            _count(active, fault.fault, 1)
        yield by_label("raftchaos_active_faults", active)
        yield by_label("raftchaos_fault_injections_total", self._counts.injections)
        yield by_label("raftchaos_fault_effect_total", self._counts.effects)
        yield by_label("raftchaos_recover_failures_total", self._counts.failed_recoveries)
        yield by_label("raftchaos_chaos_events_total", self._counts.events)
        yield single("raftchaos_failed_steps_total", self._counts.failed_steps)

    def _process(self) -> Iterator[Family]:
        uses = {name: self._processes.get(name, _down)() or ProcessUse(0.0, 0) for name in COMPONENTS}
        cpu = [((name,), use.cpu_seconds) for name, use in uses.items()]
        memory = [((name,), float(use.resident_bytes)) for name, use in uses.items()]
        yield family("raftchaos_process_cpu_seconds_total", cpu)
        yield family("raftchaos_process_resident_memory_bytes", memory)
        yield _histogram("raftchaos_event_loop_late_seconds", self._counts.late)
        yield family("raftchaos_build_info", [((VERSION, platform.python_version()), 1.0)])


def _down() -> None:
    """What a component that nobody measures uses."""


def _count(table: dict[str, int], value: str, amount: int) -> None:
    key = value if value in table else OTHER
    table[key] += amount


def _histogram(name: str, buckets: Buckets) -> Family:
    made = HistogramMetricFamily(name, BY_NAME[name].meaning)
    made.add_metric([], buckets.cumulative(), buckets.total)
    return made

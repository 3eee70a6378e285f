"""The Python quick start, as far as it needs no peer."""

from __future__ import annotations

import pytest

import raftchaos
from raftchaos import DistributedCoordinator, OrchestratedScenario, ScenarioStep
from raftchaos.errors import MachineUnusable, Unreachable, UsageError
from raftchaos.launch import free_port
from raftchaos.model.loading import parse_document, resolve


def test_a_scenario_is_the_document_that_a_file_would_be() -> None:
    scenario = (
        OrchestratedScenario("test", mode="sequential", description="why", target_nodes={"names": ["node-1"]})
        .add_step(ScenarioStep("slow", "latency", 5, {"latencyMs": 300}))
        .add_step(ScenarioStep("flaky", "flaky-service", delay_before_seconds=2, continue_on_failure=True))
    )
    (resolved,) = resolve([parse_document(scenario.to_document(), "test")])
    assert resolved.name == "test"
    assert resolved.mode == "sequential"
    assert resolved.targets.names == ("node-1",)
    assert [step.duration_seconds for step in resolved.steps] == [5, 60]
    assert resolved.steps[0].faults[0].parameters["latencyMs"] == 300
    assert resolved.steps[1].continue_on_failure


async def test_before_its_start_a_coordinator_has_no_client() -> None:
    with pytest.raises(UsageError, match="not started"):
        _ = DistributedCoordinator("node-1").client
    await DistributedCoordinator("node-1").stop()  # nothing to stop


async def test_a_cluster_that_is_not_there() -> None:
    with pytest.raises(Unreachable):
        await DistributedCoordinator("node-1", address=f"127.0.0.1:{free_port()}").start()


async def test_a_folder_that_cannot_be_used() -> None:
    with pytest.raises(MachineUnusable, match="/proc/nothing"):
        await DistributedCoordinator("node-1", directory="/proc/nothing").start()


def test_the_public_names() -> None:
    for name in raftchaos.__all__:
        assert getattr(raftchaos, name)
    with pytest.raises(AttributeError):
        _ = raftchaos.nothing  # type: ignore[attr-defined]

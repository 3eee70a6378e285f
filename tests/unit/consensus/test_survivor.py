"""Going on with one voter, and beginning with a saved state: what is on disk, and that replicas start from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from raftchaos.consensus import bootstrap, survivor
from raftchaos.consensus.replica import Replica
from raftchaos.errors import DataCorrupt, Refused
from tests.unit.consensus.consensus_support import Machine, RealCluster, eventually, write


async def lost(tmp_path: Path, **options: object) -> tuple[RealCluster, list[str]]:
    """Three peers, all stopped; what they have written."""
    cluster = RealCluster(tmp_path, **options)
    await cluster.grow("a", "b", "c")
    await write(cluster, 30)
    await cluster.settled()
    commands = list(cluster.machines["b"].commands)
    for name in ("a", "b", "c"):
        await cluster.stop(name)
    return cluster, commands


async def alone(cluster: RealCluster, name: str, cluster_id: str) -> Replica:
    """Start it as a peer of this cluster."""
    config = dataclasses.replace(cluster.config(name), cluster_id=cluster_id)
    machine = cluster.machines[name] = Machine()
    replica = cluster.replicas[name] = Replica.open(config, machine)
    await replica.start()
    await eventually(lambda: replica.status().leader_ready)
    return replica


@pytest.mark.parametrize("entries_before_snapshot", [20_000, 8])
async def test_a_survivor_goes_on_with_everything_that_it_has(tmp_path: Path, entries_before_snapshot: int) -> None:
    cluster, commands = await lost(tmp_path, entries_before_snapshot=entries_before_snapshot)
    seen = survivor.survey(tmp_path / "b", name="b")
    assert (seen.cluster_id, sorted(seen.members)) == ("test-cluster", ["a", "b", "c"])
    assert seen.commit_index <= seen.last_index
    assert survivor.go_on_alone(tmp_path / "b", name="b", cluster_id="second") == seen
    replica = await alone(cluster, "b", "second")
    assert replica.members == {"b": cluster.addresses["b"]}
    await replica.propose("after", b"after", timeout=5)
    assert cluster.machines["b"].commands == [*commands, "after"]
    assert replica.status().commit_index > seen.last_index
    await cluster.close()


async def test_old_members_are_refused_and_new_ones_join(tmp_path: Path) -> None:
    cluster, commands = await lost(tmp_path)
    survivor.go_on_alone(tmp_path / "b", name="b", cluster_id="second")
    replica = await alone(cluster, "b", "second")
    await cluster.restart("a")
    await cluster.restart("c")
    await eventually(lambda: cluster.replicas["a"].status().quorum.has_quorum)
    assert replica.status().quorum.voters == ("b",)
    assert "b" not in cluster.replicas["a"].status().quorum.reachable
    config = dataclasses.replace(cluster.config("d"), cluster_id="second")
    machine = Machine()
    cluster.replicas["d"] = Replica.join(config, machine, members=replica.members)
    await cluster.replicas["d"].start()
    await replica.add_voter("d", cluster.addresses["d"], timeout=5)
    await eventually(lambda: machine.commands == commands)
    await cluster.close()


async def test_it_may_be_done_again_after_a_kill_in_the_middle(tmp_path: Path) -> None:
    cluster, commands = await lost(tmp_path)
    survivor.go_on_alone(tmp_path / "b", name="b", cluster_id="forgotten")  # killed before the identity was written
    with pytest.raises(DataCorrupt, match="forgotten"):
        await cluster.restart("b")
    survivor.go_on_alone(tmp_path / "b", name="b", cluster_id="second")
    await alone(cluster, "b", "second")
    assert cluster.machines["b"].commands == commands
    await cluster.close()


async def test_a_peer_that_was_never_let_in_cannot_go_on(tmp_path: Path) -> None:
    bootstrap.expect(tmp_path / "d", cluster_id="x", name="d", members={"a": "a:1", "d": "d:1"})
    with pytest.raises(Refused, match="never let into"):
        survivor.survey(tmp_path / "d", name="d")


async def test_a_cluster_that_begins_with_a_saved_state(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path)
    saved = Machine()
    saved.commands, saved.results = ["one", "two"], {"1": 1, "2": 2}
    config = cluster.config("a")
    bootstrap.found_with(
        config.data_dir, cluster_id="test-cluster", name="a", address=config.advertise, state=saved.snapshot(), last=900
    )
    replica = await cluster.restart("a")
    outcome = await replica.propose("3", b"three", timeout=5)
    assert outcome.index > 900
    assert cluster.machines["a"].commands == ["one", "two", "three"]
    await cluster.add("b")
    await cluster.settled()
    assert cluster.machines["b"].commands == ["one", "two", "three"]
    await cluster.close()

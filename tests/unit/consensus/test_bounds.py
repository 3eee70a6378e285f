"""What a replica writes stays bounded, however long it lives."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.unit.consensus.consensus_support import RealCluster, eventually, write

KEPT = 128 * 1024  # bytes of entries after which a snapshot is due
SIZE = 2_000


@pytest.mark.parametrize("durability", ["process", "disk"])
async def test_the_raft_log_is_compacted_while_it_is_written(tmp_path: Path, durability: str) -> None:
    cluster = RealCluster(tmp_path, bytes_before_snapshot=KEPT, durability=durability)
    replica = await cluster.found("a")
    folder = tmp_path / "a" / "raft"
    written = 0

    def size() -> int:
        with contextlib.suppress(FileNotFoundError):  # the new log takes the place of the old one
            return sum(file.stat().st_size for file in folder.glob("log*"))
        return 3 * KEPT

    for batch in range(20):
        await write(cluster, 50, prefix=f"w{batch}", size=SIZE)
        written += 50 * SIZE
        # A snapshot is written aside while more is added: on a slow disk the log is longer for a moment.
        await eventually(lambda: size() < 3 * KEPT)
        assert {file.name for file in folder.iterdir()} <= {
            "log",
            "log.new",
            "vote",
            "vote.new",
            "snapshot",
            "snapshot.new",
        }
    assert written > 10 * KEPT
    assert replica.raft.counts["snapshots"] > 3
    await cluster.close()
    await cluster.restart("a")
    await cluster.settled()
    assert len(cluster.machines["a"].commands) == 1000
    await cluster.close()

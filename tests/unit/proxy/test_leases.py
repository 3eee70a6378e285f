"""Two leases in one table: each ends what stands under it, and nothing else."""

from __future__ import annotations

import math

import pytest

from raftchaos.core.interfaces import MAIN_LEASE, NODE_LEASE
from raftchaos.errors import FaultRefused
from raftchaos.proxy.faults import FAULTS
from raftchaos.proxy.specs import FaultSpec
from raftchaos.proxy.table import FaultTable


def spec(run: str, end: float, lease: str) -> FaultSpec:
    return FaultSpec(run, "latency", "web", {"latencyMs": 5.0}, 1, end, lease=lease)


def test_each_lease_ends_what_stands_under_it() -> None:
    changes: list[str] = []
    table = FaultTable(FAULTS, changes.append)
    assert table.next_end == math.inf
    table.inject(spec("run", 103.0, NODE_LEASE), ["web"], 100.0)
    table.inject(spec("own", 102.0, MAIN_LEASE), ["web"], 100.0)
    assert (table.next_end, table.lease_end) == (102.0, 103.0)
    table.take_lease(110.0, 101.0, MAIN_LEASE)
    assert table.next_end == 103.0
    assert table.expire(104.0)
    assert (table.runs(), table.next_end) == (["own"], 110.0)
    table.take_lease(120.0, 104.0)
    with pytest.raises(FaultRefused, match="is over"):
        table.inject(spec("run", 120.0, NODE_LEASE), ["web"], 104.0)
    table.take_lease(130.0, 111.0, MAIN_LEASE)
    assert table.runs() == [], "a lease that has ended is not extended"
    assert not table.expire(112.0)
    assert len(changes) == 4


def test_of_a_whole_table_only_that_is_refused_whose_lease_has_ended() -> None:
    table = FaultTable(FAULTS, lambda proxy: None)
    refused = table.replace([spec("run", 99.0, NODE_LEASE), spec("own", 103.0, MAIN_LEASE)], ["web"], 100.0)
    assert list(refused) == ["run"]
    assert table.runs() == ["own"]

"""Clusters for the tests of consensus."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from consensus_support import RealCluster, TwinCluster
from consensus_virtual import VirtualClock, virtual_time


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RealCluster]:
    made = RealCluster(tmp_path)
    yield made
    await made.close()


@pytest.fixture(params=["twin", "real"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RealCluster | TwinCluster]:
    made = TwinCluster() if request.param == "twin" else RealCluster(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with virtual_time() as made:
        yield made

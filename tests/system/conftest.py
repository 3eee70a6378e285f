"""Fixtures of the system tests: a cluster of real peers, ended whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import Cluster, Shop, Upstream


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """An empty cluster in a temporary directory; every process of it is ended afterwards."""
    made = Cluster(tmp_path)
    yield made
    made.end()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An HTTP server that records when requests reach it."""
    server = Upstream()
    yield server
    server.close()


@pytest.fixture
def shop(cluster: Cluster, upstream: Upstream) -> Iterator[Shop]:
    """A cluster whose nodes each have a proxy `web` in front of the upstream; start it with `shop.start(count)`."""
    made = Shop(cluster, upstream)
    yield made
    made.close()

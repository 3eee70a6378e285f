"""Real proxy processes, real services behind them, real clients in front of them; all on free loopback ports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raftchaos.clock import SystemClock
from raftchaos.proxy.process import ProxyProcess
from tests.unit.proxy.proxy_world import World


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "proxy.sock"


@pytest.fixture
async def process(socket_path: Path, tmp_path: Path) -> AsyncIterator[ProxyProcess]:
    """A watched proxy process."""
    supervisor = ProxyProcess(socket_path, SystemClock(), log_path=tmp_path / "proxy.log")
    await supervisor.start()
    yield supervisor
    await supervisor.stop()


@pytest.fixture
async def world(process: ProxyProcess) -> AsyncIterator[World]:
    """A proxy process in front of an HTTP service and an echo service."""
    async with World.open(process) as opened:
        yield opened

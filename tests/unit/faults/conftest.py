"""What the tests of the faults share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.faults.proxy_stub import ProxyThread


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory whose path is short enough for any control socket."""
    folder = Path(tempfile.mkdtemp(prefix="rc-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def proxy(data_dir: Path) -> Iterator[ProxyThread]:
    """A proxy process that answers on `proxy.sock` of the data directory."""
    thread = ProxyThread(data_dir / "proxy.sock")
    yield thread
    thread.close()

"""What all tests share: a test that needs something this machine lacks skips with its name, and fails in CI."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

MAY_BE_MISSING = Path(__file__).parent.parent / ".ci" / "missing"


def _may_be_missing(what: str) -> bool:
    lines = MAY_BE_MISSING.read_text().splitlines()
    return any(what.startswith(line.partition(":")[0]) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def require() -> Callable[[bool, str], None]:
    """`require(condition, what_to_install)` skips; with RAFTCHAOS_REQUIRE_ALL=1 it fails, but for `.ci/missing`."""

    def check(condition: bool, missing: str) -> None:
        if condition:
            return
        if os.environ.get("RAFTCHAOS_REQUIRE_ALL") == "1" and not _may_be_missing(missing):
            pytest.fail(f"this machine lacks {missing}")
        pytest.skip(f"this machine lacks {missing}")

    return check

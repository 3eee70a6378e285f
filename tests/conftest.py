"""What all tests share: a test that needs something this machine lacks skips with its name, and fails in CI."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


@pytest.fixture
def require() -> Callable[[bool, str], None]:
    """`require(condition, what_to_install)` skips, or fails where RAFTCHAOS_REQUIRE_ALL=1."""

    def check(condition: bool, missing: str) -> None:
        if condition:
            return
        if os.environ.get("RAFTCHAOS_REQUIRE_ALL") == "1":
            pytest.fail(f"this machine lacks {missing}")
        pytest.skip(f"this machine lacks {missing}")

    return check
